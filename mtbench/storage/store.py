"""The content-addressed store: one folder per finished stage, named by the hash of what determines it.

``ROOT/stages/NAME/FINGERPRINT/`` holds a stage's files and ``manifest.json`` (inputs, configuration, versions, sizes,
sha256, seconds). A stage is computed in ``ROOT/work/NAME-FINGERPRINT/`` and renamed when it is whole, so that a folder
under ``stages`` is complete or absent; work that was interrupted is found there again. Each stage's files are checked
against the manifest once per process before they are read, and a damaged folder is set aside and rebuilt. Whoever wants
to know only what the computation found (:meth:`Store.glance`) has no file checked. A stage whose files were freed keeps
its manifest, as ``freed.json``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from mtbench.storage.atomic import move_folder, sync_folder, write_json
from mtbench.storage.disk import disk_errors, file_digest
from mtbench.storage.lease import Lease
from mtbench.storage.manifest import MANIFEST, FileEntry, Manifest, Results
from mtbench.storage.mirror import Mirror, mirror_from_environment

FREED = "freed.json"
"""The manifest of a stage whose files were freed."""


def fingerprint(content: object) -> str:
    """Sixteen hex digits that name ``content`` (plain JSON values)."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass
class Built:
    """A finished stage: its folder, whether it stood there already, and its manifest."""

    folder: Path
    reused: bool
    manifest: Manifest

    @property
    def seconds(self) -> float:
        """Seconds that its computation took."""
        return self.manifest.seconds

    @property
    def results(self) -> Results:
        """What its computation returned."""
        return self.manifest.results


class Store:
    """Finished stages on a file system that may be shared by several machines."""

    def __init__(self, root: Path, mirror: Mirror | None = None) -> None:
        self.root = root
        self._mirror = mirror or mirror_from_environment()
        self._verified: set[Path] = set()

    def folder(self, name: str, key: str) -> Path:
        """Where the stage ``name`` with fingerprint ``key`` stands when it is finished."""
        return self.root / "stages" / name / key

    def work_folder(self, name: str, key: str) -> Path:
        """Where it is computed; kept after an interruption."""
        return self.root / "work" / f"{name}-{key}"

    def has(self, name: str, key: str) -> bool:
        """Whether the stage is finished (its manifest stands; contents are checked when it is used)."""
        return (self.folder(name, key) / MANIFEST).is_file()

    def open(self, name: str, key: str) -> Built | None:
        """The finished stage, its files checked; None if it is absent. A damaged one is set aside and None returned."""
        folder = self.folder(name, key)
        if folder in self._verified:
            return self.glance(name, key)
        built = self.glance(name, key, None)
        if built is not None:
            self._verified.add(folder)
        return built

    def glance(self, name: str, key: str, files: Collection[str] | None = ()) -> Built | None:
        """The finished stage, of its files only ``files`` checked (None: all); else as :meth:`open`."""
        folder = self.folder(name, key)
        try:
            manifest = Manifest.parse((folder / MANIFEST).read_bytes())
        except FileNotFoundError:
            return None
        except (ValueError, OSError):
            manifest = None
        if manifest is None or not _intact(folder, manifest, files):
            if (folder / MANIFEST).is_file():  # else another process has freed it meanwhile
                self._set_aside(folder)
            return None
        return Built(folder, True, manifest)

    def freed(self, name: str, key: str) -> Built | None:
        """What is known of a finished stage whose files were freed (:meth:`free`); None if it is none."""
        folder = self.folder(name, key)
        try:
            return Built(folder, True, Manifest.parse((folder / FREED).read_bytes()))
        except (ValueError, OSError):
            return None

    def free(self, name: str, key: str, found: Results | None = None) -> int:
        """Delete the files of a finished stage and keep what is known of it, with ``found`` beside; the bytes freed."""
        folder, built = self.folder(name, key), self.glance(name, key)
        gone = self.root / "work" / f"freed-{name}-{key}-{time.time_ns()}"
        gone.parent.mkdir(parents=True, exist_ok=True)
        if built is None:
            return 0
        try:
            os.replace(folder, gone)  # whole, so that nobody finds a part of it; clean --leftovers knows the place
        except FileNotFoundError:
            return 0  # another process was first
        self._verified.discard(folder)
        folder.mkdir(exist_ok=True)
        if not self.has(name, key):
            write_json(folder / FREED, built.manifest.as_json(found or {}))
        size = sum(file.stat().st_size for file in _files(gone))
        shutil.rmtree(gone, ignore_errors=True)
        return size

    def build(
        self, name: str, key: str, content: Mapping[str, object], compute: Callable[[Path], Results | None]
    ) -> Built:
        """The finished stage, computing it by ``compute(work folder)`` if it is absent.

        ``content`` is what the fingerprint was made of; it goes into the manifest with what ``compute`` returns. Of
        several processes only one computes; the others wait. StoreError for a full disk or missing permission.
        """
        ready = self.open(name, key)
        if ready:
            return ready
        with disk_errors(self.root):
            (self.root / "leases").mkdir(parents=True, exist_ok=True)
            with Lease(self.root / "leases" / f"{name}-{key}.json", done=lambda: self.has(name, key)) as lease:
                ready = self.open(name, key) or (self._fetch(name, key) if lease.held else None)
                if ready or not lease.held:
                    return ready or self.build(name, key, content, compute)
                return self._compute(name, key, content, compute)

    def _compute(
        self, name: str, key: str, content: Mapping[str, object], compute: Callable[[Path], Results | None]
    ) -> Built:
        work = self.work_folder(name, key)
        work.mkdir(parents=True, exist_ok=True)
        clock = Stopwatch(work / "seconds.json")
        with clock:
            results = compute(work) or {}
        clock.remove()
        _remove_strays(work)
        files = {str(f.relative_to(work)): _describe(f) for f in _files(work)}
        manifest = Manifest(name, key, content, clock.seconds, files, results)
        manifest.write(work)
        target = self._finish(name, key, work)
        self._verified.add(target)
        if self._mirror:
            self._mirror.offer(name, key, target)
        return Built(target, False, manifest)

    def _finish(self, name: str, key: str, work: Path) -> Path:
        """Rename the whole ``work`` to its place; where another process was first (a lease lost), its stage stays."""
        target = self.folder(name, key)
        if (target / FREED).is_file() and not self.has(name, key):
            shutil.rmtree(target, ignore_errors=True)  # what is known of one that was freed
        move_folder(work, target, stands=lambda: self.has(name, key))
        sync_folder(target.parent)
        return target

    def _fetch(self, name: str, key: str) -> Built | None:
        """The stage from the mirror, checked like one that was here; None if there is none or it is damaged there."""
        if self._mirror is None:
            return None
        beside = self.root / "work" / f".{name}-{key}.fetched"
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        try:
            if not self._mirror.fetch(name, key, beside):
                return None
            self._finish(name, key, beside)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        return self.open(name, key)

    def _set_aside(self, folder: Path) -> None:
        target = self.root / "damaged" / f"{folder.parent.name}-{folder.name}-{time.time_ns()}"
        target.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.replace(folder, target)

    def remove(self, name: str, key: str) -> int:
        """Delete a finished stage; the bytes freed."""
        folder = self.folder(name, key)
        size = sum(f.stat().st_size for f in _files(folder)) if folder.is_dir() else 0
        shutil.rmtree(folder, ignore_errors=True)
        self._verified.discard(folder)
        return size


class Stopwatch:
    """Seconds of work over several attempts: what an interrupted attempt spent is kept in a small file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        try:
            self._before = float(json.loads(file.read_text())["seconds"])
        except (OSError, ValueError, KeyError):
            self._before = 0.0
        self.seconds = self._before

    def __enter__(self) -> Stopwatch:
        self._start = time.monotonic()
        return self

    def __exit__(self, *exc: object) -> None:
        self.seconds = self._before + time.monotonic() - self._start
        with contextlib.suppress(OSError):
            write_json(self._file, {"seconds": self.seconds})

    def remove(self) -> None:
        """Forget the file; the manifest has the number from now on."""
        self._file.unlink(missing_ok=True)


def _remove_strays(folder: Path) -> None:
    """Remove what attempts that were killed in the middle of a file have left."""
    for file in folder.rglob(".*"):
        if file.is_file():
            file.unlink()


def _files(folder: Path) -> list[Path]:
    return sorted(f for f in folder.rglob("*") if f.is_file() and not f.name.startswith("."))


def _describe(file: Path) -> FileEntry:
    digest = file_digest(file)
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
    return {"bytes": file.stat().st_size, "sha256": digest}


def _intact(folder: Path, manifest: Manifest, names: Collection[str] | None) -> bool:
    for name in manifest.files if names is None else names:
        expected = manifest.files.get(name)
        if expected is None:
            return False
        file = folder / name
        if not file.is_file() or file.stat().st_size != expected["bytes"] or file_digest(file) != expected["sha256"]:
            return False
    return True
