"""Opening and splitting raw files: gzip or not, one line or one JSON value at a time, errors with file and line.

Nothing here holds more than a line or one element in memory, whatever the size of the file.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, BinaryIO

from mtbench.errors import DataError

LFS_POINTER = b"version https://git-lfs.github.com/spec/"
GZIP_MAGIC = b"\x1f\x8b"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
MAX_LINE = 1 << 28
_CHUNK = 1 << 20
_WATCHED: ContextVar[list[BinaryIO] | None] = ContextVar("files being read", default=None)


def find_file(root: Path, name: str, what: str = "file", remedy: str | None = None) -> Path:
    """``root/name``, or the same file with ``.gz`` added or taken away; DataError if there is none."""
    for candidate in (name, f"{name}.gz", name.removesuffix(".gz")):
        if (root / candidate).is_file():
            return root / candidate
    if (root / name).is_dir():
        raise DataError(f"expected a file ({what}), but this is a folder", path=root / name)
    raise DataError(f"{what} not found", path=root / name, remedy=remedy or "Check the path, or fetch the file.")


@contextmanager
def watch_reading() -> Iterator[Callable[[], int]]:
    """Inside, the yielded function says how many bytes of all files opened since have been read (packed bytes)."""
    streams: list[BinaryIO] = []
    ended = 0

    def position() -> int:
        nonlocal ended
        for stream in [s for s in streams if s.closed]:
            ended += os.path.getsize(stream.name)
            streams.remove(stream)
        return ended + sum(stream.tell() for stream in streams)

    token = _WATCHED.set(streams)
    try:
        yield position
    finally:
        _WATCHED.reset(token)


def open_binary(path: Path) -> BinaryIO:
    """``path`` opened for reading, unpacked if its first bytes are gzip's, whatever its name."""
    try:
        stream: BinaryIO = open(path, "rb", buffering=_CHUNK)  # noqa: SIM115 (the caller closes it)
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", path=path) from error
    head = stream.read(len(LFS_POINTER))
    stream.seek(0)
    watched = _WATCHED.get()
    if watched is not None:
        watched.append(stream)
    if head.startswith(LFS_POINTER):
        stream.close()
        raise DataError(
            "is a Git LFS pointer, not the data", path=path, line=1, remedy="Fetch the content: git lfs pull"
        )
    if head.startswith(GZIP_MAGIC):
        return io.BufferedReader(_Unpacked(stream), _CHUNK)
    return stream


class _Unpacked(io.RawIOBase):
    """Unpacked gzip data, handed on as they come, so that a break is met behind all that precedes it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._packed = gzip.GzipFile(fileobj=stream, mode="rb")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._packed.read1(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._packed.close()
        self._stream.close()
        super().close()


def broken_gzip(path: Path, line: int, error: Exception) -> DataError:
    """The error for compressed data that end early or do not check."""
    truncated = isinstance(error, EOFError)
    what = "the gzip data end in the middle" if truncated else f"the gzip data are damaged ({error})"
    return DataError(what, path=path, line=line, remedy="The download was cut off or damaged; fetch it again.")


def iter_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines as ``(number from 1, text without line end)``; LF and CRLF, final newline optional.

    Raises DataError with the line for bytes that are not UTF-8, a NUL byte, damaged gzip or an endless line.
    """
    number = 0
    with open_binary(path) as stream:
        try:
            while raw := stream.readline(MAX_LINE):
                number += 1
                yield number, _decode(raw, path, number)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise broken_gzip(path, number + 1, error) from error


def _decode(raw: bytes, path: Path, number: int) -> str:
    if number == 1 and raw.startswith(BYTE_ORDER_MARK):
        raw = raw[len(BYTE_ORDER_MARK) :]
    if b"\0" in raw:
        raise DataError("contains a NUL byte", path=path, line=number, remedy="The file is damaged; fetch it again.")
    if len(raw) >= MAX_LINE:
        raise DataError(f"a line longer than {MAX_LINE >> 20} MiB", path=path, line=number)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"is not UTF-8 (byte {error.start + 1} of the line)",
            path=path,
            line=number,
            remedy="Convert it, e.g. iconv -f latin1 -t utf-8, or fetch the file again.",
        ) from error
    return text.rstrip("\n").removesuffix("\r")


def iter_json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Objects of a JSON-lines file as ``(line, object)``; blank lines are passed over."""
    for number, line in iter_lines(path):
        if line and not line.isspace():
            yield number, parse_object(line, path, number)


def parse_object(line: str, path: Path, number: int) -> dict[str, Any]:
    """One line of a JSON-lines file; DataError that tells the usual mistakes apart."""
    if number == 1 and line.lstrip().startswith("["):
        raise DataError(
            "is a JSON array, not one JSON object per line",
            path=path,
            line=number,
            remedy=f"Convert it: jq -c '.[]' {path.name} > lines.jsonl",
        )
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise _not_json(error, path, number) from error
    except RecursionError as error:
        raise DataError("JSON nested too deeply", path=path, line=number) from error
    if not isinstance(value, dict):
        raise DataError(f"expected a JSON object, found {type(value).__name__}", path=path, line=number)
    if "\\u" in line:
        _refuse_lone_surrogates(value, path, number)
    return value


def _not_json(error: json.JSONDecodeError, path: Path, number: int) -> DataError:
    if error.msg == "Extra data" and error.doc[error.pos] == "{":
        return DataError(
            "several JSON objects on one line, without newlines between them",
            path=path,
            line=number,
            remedy=f"Put each on its own line: jq -c . {path.name} > lines.jsonl",
        )
    return DataError(f"not valid JSON: {error.msg} (column {error.colno})", path=path, line=number)


def _refuse_lone_surrogates(value: Any, path: Path, number: int) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError("half of a surrogate pair (\\ud8xx) in a string", path=path, line=number) from error
