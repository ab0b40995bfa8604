"""A disk that is full or forbidden is told; everything else stays what it was."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from mtbench.errors import StoreError
from mtbench.storage.disk import disk_errors, file_digest


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the disk is full"),
        (errno.EACCES, "cannot be written: Permission denied"),
        (errno.EROFS, "cannot be written: Read-only file system"),
    ],
)
def test_what_the_disk_refuses_names_the_place_and_the_remedy(code: int, text: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=text) as caught, disk_errors(tmp_path):
        raise OSError(code, os.strerror(code))
    assert str(caught.value).startswith(str(tmp_path)) and "--store" in str(caught.value)


def test_other_errors_pass(tmp_path: Path) -> None:
    for error in (FileNotFoundError(errno.ENOENT, "none"), OSError("no number"), ValueError("other")):
        with pytest.raises(type(error)) as caught, disk_errors(tmp_path):
            raise error
        assert caught.value is error


def test_digests(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc" * 100_000)
    for kind in ("sha256", "md5"):
        assert file_digest(tmp_path / "a", kind) == hashlib.new(kind, b"abc" * 100_000).hexdigest()
