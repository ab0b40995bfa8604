"""Fields of raw records: taken with a check, so that a wrong one is reported with its place."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mtbench.data.types import Passage
from mtbench.errors import DataError

_ZERO_WIDTH = "\u200b\u200c\u200d\u2060\ufeff"
Located = tuple[Path, int, Passage]
"""File and line of a passage, and the passage."""


_ENDS = re.compile("[\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029]")
_WHOLE = re.compile(r"[+-]?[0-9]+(\.0*)?")
MAX_GRADE = 1_000_000
"""trec_eval keeps a number for every grade up to the highest."""


def is_blank(text: str) -> bool:
    """Nothing to read: only white space and zero-width characters."""
    return not text.strip().strip(_ZERO_WIDTH)


def grade(text: str, path: Path, line: int) -> int:
    """A judgement's relevance; DataError for what is no whole number (``1.0`` is one), or beyond any scale."""
    if not _WHOLE.fullmatch(text.strip()):
        raise DataError(f"the relevance must be a whole number, found {text[:80]!r}", path=path, line=line)
    value = int(text.strip().partition(".")[0][:20])
    if abs(value) > MAX_GRADE:
        raise DataError(f"a relevance beyond {MAX_GRADE:,}: {text[:80]}", path=path, line=line)
    return value


def identifier(record: dict[str, Any], key: str, path: Path, line: int) -> str:
    """``record[key]`` as a string id (whole numbers are accepted); DataError without one."""
    value = record.get(key)
    if isinstance(value, bool) or not isinstance(value, (str, int)) or value == "":
        found = "missing" if key not in record else f"{value!r}"
        raise DataError(f"{key!r} must be a non-empty string or a whole number, found {found}", path=path, line=line)
    return checked_id(str(value), path, line)


def checked_id(name: str, path: Path, line: int) -> str:
    """``name``; DataError if it has a tab or a line end, which would end it in judgements and run files."""
    if _ENDS.search(name):
        raise DataError(
            f"the id {name[:80]!r} has a tab or a line end in it, which ends an id in judgements and run files",
            path=path,
            line=line,
            remedy="Give it another id; blanks are allowed.",
        )
    return name


def string(record: dict[str, Any], key: str, path: Path, line: int, default: str | None = None) -> str:
    """``record[key]`` as text; ``default`` if the key is absent or null, DataError without a default."""
    value = record.get(key)
    if value is None:
        value = default
    if not isinstance(value, str):
        found = "missing" if key not in record else type(record[key]).__name__
        raise DataError(f"{key!r} must be a string, found {found}", path=path, line=line)
    return value
