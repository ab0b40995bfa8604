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


def settled(path: str | Path) -> str:
    """``path`` as it is typed here, for a process that works in another folder: absolute, links kept."""
    return str(expanded(path).absolute())


def for_libraries(path: Path, what: str) -> Path:
    """``path``; UsageError if its name is not UTF-8, which the libraries that read and write there cannot open."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        raise UsageError(
            f"{what} {shown(str(path))}: the name is not UTF-8, and tokenizers cannot open it\n  Rename the folder, or "
            "reach it by a link whose name is UTF-8."
        ) from None
    return path


def checkout() -> Path | None:
    """The clone of mtbench that this program runs from, if the working directory lies in it."""
    root = Path(__file__).resolve().parents[2]
    here = Path.cwd().resolve()
    return root if (root / ".git").exists() and here.is_relative_to(root) else None


def committed_results() -> Path:
    """Where records are read from where no folder is named: ``results``, in a clone the clone's own."""
    root = checkout()
    return Path("results") if root is None or root == Path.cwd().resolve() else root / "results"


def default_results() -> Path:
    """Where records are written where no folder is named: ``results``; in a clone of mtbench ``results/local``, which
    git ignores, so that nobody's first command replaces the records that came with it."""
    return committed_results() if checkout() is None else committed_results() / "local"


def default_root() -> Path:
    """The store's folder where none is named: ``$MTBENCH_HOME`` if set, else the user's cache folder."""
    home = os.environ.get("MTBENCH_HOME")
    if home:
        return expanded(home)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mtbench"
