"""What a disk may do: be full, be forbidden, or give back other bytes than were written."""

from __future__ import annotations

import contextlib
import errno
import hashlib
from collections.abc import Iterator
from pathlib import Path

from mtbench.errors import StoreError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EROFS)


@contextlib.contextmanager
def disk_errors(place: Path) -> Iterator[None]:
    """StoreError, naming ``place``, where a disk is full or must not be written; other errors pass."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StoreError(
                f"{place}: the disk is full; nothing incomplete is taken for finished.\n"
                "  Free space (mtbench clean) or choose another place with --store, then run the same command again."
            ) from error
        if error.errno in _FORBIDDEN:
            raise StoreError(
                f"{place}: cannot be written: {error.strerror}\n"
                "  Choose another place with --store, then run the same command again."
            ) from error
        raise


def file_digest(path: Path, kind: str = "sha256") -> str:
    """Hex digest of a file's content."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, kind).hexdigest()
