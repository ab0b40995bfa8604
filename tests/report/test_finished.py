"""What a finished command prints: figures whole within the terminal, where the records are, what to do next."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from synthetic_records import TASKS, family, make_record

from mtbench.report.cells import duration
from mtbench.report.finished import print_finished, print_whereabouts
from mtbench.storage.places import default_results


def printed(records: list[Any], width: int, results: Path = Path("results")) -> str:
    console = Console(file=io.StringIO(), width=width, record=True)
    print_finished(records, results, console)
    print_whereabouts(records, results, console)
    return console.export_text()


@pytest.mark.parametrize("width", [40, 60, 80, 120, 250])
@pytest.mark.parametrize("seeds", [1, 3])
def test_every_figure_is_whole_at_any_width(width: int, seeds: int) -> None:
    records = family(seeds, tsage=0.012)
    text = printed(records, width)
    table = text.split("Records:")[0]
    assert "…" not in table and max(map(len, table.splitlines())) <= width
    for name in ("naive", "tsage"):
        runs = [r for r in records if r["spec"]["optimizer"]["name"] == name]
        for task in TASKS:
            mean = sum(r["tasks"][task]["metrics"]["rprecision_page"] for r in runs) / seeds
            assert f"{100 * mean:.2f}" in table
    assert ("±" in table) == (seeds > 1) and "over naive" in table


def test_wide_terminals_have_a_line_per_method_with_the_average_first() -> None:
    lines = printed(family(2, tsage=0.012), 140).splitlines()
    header = next(line for line in lines if "method" in line).split()
    assert header[:2] == ["method", "average"] and header[-len(TASKS) :] == list(TASKS)


def test_narrow_terminals_have_a_line_per_task() -> None:
    lines = printed(family(1, tsage=0.012), 62).splitlines()
    assert any(re.match(r"\s*average\s+\d", line) for line in lines)
    assert any(re.match(r"\s*hotpotqa\s+\d", line) for line in lines)


def test_where_it_is_and_what_next() -> None:
    one = [make_record("tsage", 0)]
    text = printed(one, 80)
    assert f"Record: results/runs/toy@1/mini/tsage/{one[0]['run_id']}.json" in text
    assert "Next: mtbench leaderboard --suite toy" in text
    two = family(2, tsage=0.01)
    assert "Next: mtbench compare tsage naive --suite toy" in printed(two, 80)
    assert "--results elsewhere" in printed(two, 80, Path("elsewhere"))
    absolute = printed(one, 80, default_results().absolute())  # as a plan has it
    assert f"Record: {default_results()}/runs/toy@1" in absolute and "--results" not in absolute
    limited = [make_record("tsage", 0, limit=5)]
    text = printed(limited, 80)
    assert "Next" not in text and f"{100 * limited[0]['average']:.2f}" in text


def test_what_did_not_finish_says_so() -> None:
    error = {"type": "RunError", "message": "the loss is not finite"}
    records = [make_record("naive", 0), make_record("cgd", 0, status="failed", tasks={}, extra={"error": error})]
    assert "failed: RunError" in printed(records, 80)
    assert printed([], 80) == ""


@pytest.mark.parametrize(
    ("hours", "text"),
    [(None, "–"), (0.0, "0 s"), (0.0117, "42 s"), (0.031, "1.9 min"), (3.44, "3.4 h"), (60, "2.5 days")],
)
def test_times_have_units(hours: float | None, text: str) -> None:
    assert duration(hours) == text
