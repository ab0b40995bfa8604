"""Unpacking downloaded archives: only the members needed, each renamed when it is whole."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from mtbench.errors import DataError
from mtbench.storage.atomic import replacing
from mtbench.suite import Download

_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error)


def unpack_folder(download: Download, folder: Path) -> Path:
    """Where the members of an archive go."""
    return (folder / download.path).parent / download.unpack_into


def missing_members(download: Download, folder: Path) -> list[str]:
    """Needed members that are not unpacked yet (or lie gzipped beside)."""
    target = unpack_folder(download, folder)
    return [m for m in download.members if not ((target / m).is_file() or (target / f"{m}.gz").is_file())]


def unpack(download: Download, folder: Path) -> list[Path]:
    """Unpack what is missing; returns the files written. DataError for a damaged archive or a missing member."""
    archive, target = folder / download.path, unpack_folder(download, folder)
    wanted = set(missing_members(download, folder))
    written: list[Path] = []
    if download.members and not wanted:
        return written
    try:
        for name, stream in _members(archive):
            name = name.removeprefix("./")
            if (wanted and name not in wanted) or not _is_safe(name):
                continue
            written.append(_write(stream, target / name))
            wanted.discard(name)
            if download.members and not wanted:
                break
    except _DAMAGED as error:
        raise DataError(
            f"a damaged archive ({error or type(error).__name__})",
            path=archive,
            remedy="Remove it and fetch it again.",
        ) from error
    if wanted:
        raise DataError(f"no member {sorted(wanted)[0]!r} in the archive", path=archive)
    return written


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Regular files in the archive's order, streamed."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            for info in packed.infolist():
                if not info.is_dir():
                    with packed.open(info) as stream:
                        yield info.filename, stream
    else:
        with tarfile.open(archive, "r|*") as tape:  # a stream: the index of 500,000 members is not read first
            for member in tape:
                stream_or_none = tape.extractfile(member) if member.isfile() else None
                if stream_or_none is not None:
                    yield member.name, stream_or_none


def _is_safe(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def _write(stream: IO[bytes], path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part, open(part, "wb") as out:
        shutil.copyfileobj(stream, out, 1 << 20)
    return path
