"""What the verbs share: consoles, JSON on standard output, lists in options."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from mtbench.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from mtbench.records.record import RunRecord


def emit_json(value: object) -> None:
    """One JSON object on standard output and nothing else there."""
    json.dump(value, sys.stdout, ensure_ascii=False, allow_nan=False)
    sys.stdout.write("\n")


@contextlib.contextmanager
def only_json(json_: bool) -> Iterator[None]:
    """With ``--json`` what plugins print goes to standard error: standard output is for the one object."""
    with contextlib.redirect_stdout(sys.stderr) if json_ else contextlib.nullcontext():
        yield


def out_console() -> Console:
    """The console of a verb's result: standard output, wide enough for a table where it is not a terminal."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else 200)


def err_console() -> Console:
    """The console of messages and progress."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def exit_code(records: Iterable[RunRecord]) -> int:
    """0 unless a run failed; 2 if settings or data are to blame for every failure, else 1."""
    import mtbench.errors
    from mtbench.records.record import error_type

    kinds = {str(error_type(r)) for r in records if r["status"] == "failed"}
    codes = {getattr(getattr(mtbench.errors, kind, None), "exit_code", 1) for kind in kinds}
    return min(codes, default=0)


def names(text: str, option: str) -> list[str]:
    """``A,B`` as a list without blanks; UsageError if it is empty."""
    found = [part.strip() for part in text.split(",") if part.strip()]
    if not found:
        raise UsageError(f"{option} is empty")
    return found


MOST_NUMBERS = 10_000
"""In one list: a range that was mistyped must not fill the memory."""


def numbers(text: str, option: str) -> list[int]:
    """``0,1,2`` or ``0-4`` as integers; UsageError naming what is none."""
    found: list[int] = []
    for part in names(text, option):
        low, dash, high = part.partition("-") if not part.startswith("-") else (part, "", "")
        try:
            first, last = int(low), int(high if dash else low)
        except ValueError:
            raise UsageError(f"{option}: {part!r} is not a whole number or a range such as 0-4") from None
        if first < 0:
            raise UsageError(f"{option}: {part!r} is negative")
        if last < first:
            raise UsageError(f"{option}: the range {part!r} ends before it begins")
        if last - first + len(found) >= MOST_NUMBERS:
            raise UsageError(f"{option}: {part!r} makes more than {MOST_NUMBERS:,} numbers")
        found += range(first, last + 1)
    return found
