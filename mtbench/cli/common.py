"""What the verbs share: consoles, JSON on standard output, lists in options."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from mtbench.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from mtbench.execution.planned import PlannedRuns
    from mtbench.records.record import RunRecord


def emit_json(value: object) -> None:
    """One JSON object on standard output and nothing else there."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    is_utf8 = text.encode("utf-8", "replace").decode() == text
    sys.stdout.write(text if is_utf8 else json.dumps(value, allow_nan=False))  # a file's name may be no UTF-8
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
    """1 if a run failed, else 0. (A mistake of usage, configuration or data is an error and leaves no record.)"""
    return int(any(record["status"] == "failed" for record in records))


def emit_runs(records: list[RunRecord], found: Mapping[str, object]) -> None:
    """The one object of a verb that runs things: ``found``; if a run failed its ``error`` and all ``records`` too."""
    failed = next((record for record in records if record["status"] == "failed"), None)
    if failed is None:
        emit_json(found)
        return
    told = failed["error"] or {"type": "RunError", "message": "failed", "traceback": []}
    emit_json({**found, "error": error_object(told["type"], told["message"]), "records": records})


def error_object(kind: str, message: str, place: str | None = None) -> dict[str, str | None]:
    """An error as JSON: its class, what is wrong, where (a file, with its line where one is known), what to do."""
    first, _, rest = message.partition("\n")
    if place is not None:
        first = first.removeprefix(f"{place}: ")
    remedy = " ".join(line.strip() for line in rest.splitlines() if line.strip())
    return {"type": kind, "message": first, "place": place, "remedy": remedy or None}


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


def show_costed_plan(planned: PlannedRuns, json: bool) -> None:
    """What would be run, what is shared, and what it will cost."""
    from mtbench.execution.show import plan_summary, print_plan
    from mtbench.execution.show_estimate import estimate_summary, print_estimate

    if json:
        emit_json({**plan_summary(planned), **estimate_summary(planned)})
    else:
        print_plan(planned, out_console())
        print_estimate(planned, out_console())
