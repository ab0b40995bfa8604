"""Places that a user names, and the one that is taken where none is named."""

from __future__ import annotations

import os
from pathlib import Path

from mtbench.errors import UsageError, shown

LONGEST_NAME = 255
"""Bytes of one part of a path on the usual file systems."""


def expanded(path: str | Path) -> Path:
    """``path`` with ``~`` resolved; UsageError for a home that nobody has, or a name that no file can have."""
    try:
        found = Path(path).expanduser()
    except RuntimeError as error:
        raise UsageError(f"{shown(str(path))}: {error}") from None
    if any(len(os.fsencode(part)) > LONGEST_NAME for part in found.parts):
        raise UsageError(f"{shown(str(path))} is not a possible path: a part of it is longer than {LONGEST_NAME} bytes")
    return found


def default_root() -> Path:
    """The store's folder where none is named: ``$MTBENCH_HOME`` if set, else the user's cache folder."""
    home = os.environ.get("MTBENCH_HOME")
    if home:
        return expanded(home)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mtbench"
