"""Files and folders that are whole or as they were before, whatever stops the writer."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mtbench.errors import StoreError


@contextlib.contextmanager
def replacing(path: Path, mark: str = "part") -> Iterator[Path]:
    """A place beside ``path`` to write to; at the end it becomes ``path``, or is removed if an error came.

    A fixed ``mark`` lets the attempt after a kill overwrite what was left; writers that may write one file at the same
    time need a mark of their own.
    """
    beside = path.with_name(f".{path.name}.{mark}")
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Replace ``path`` by ``text`` (UTF-8, line ends as they are); on the disk when this returns."""
    with replacing(path, f"{uuid.uuid4().hex[:12]}.tmp") as beside, open(beside, "wb") as stream:
        stream.write(text.encode("utf-8"))
        stream.flush()
        os.fsync(stream.fileno())


def write_json(path: Path, value: Any) -> None:
    """Replace ``path`` by the JSON of ``value``, keys in their own order; nothing is touched if it has none."""
    text = json.dumps(value, ensure_ascii=False, indent=1)
    is_utf8 = text.isascii() or text.encode("utf-8", "replace").decode() == text
    # the name of a file may have bytes that are no UTF-8: only as escapes can they be written and read back
    write_text(path, text if is_utf8 else json.dumps(value, indent=1))


def read_json(path: Path) -> Any:
    """The JSON value of a file that mtbench wrote; StoreError if it is not whole."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: not readable ({error})\n  Remove its folder; it will be built again.") from error


def move_folder(folder: Path, target: Path, stands: Callable[[], bool]) -> None:
    """Rename the whole ``folder`` to ``target``; if another process was first (``stands()``), its folder stays."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.replace(folder, target)
    except OSError:
        if not stands():
            raise
        shutil.rmtree(folder, ignore_errors=True)


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
