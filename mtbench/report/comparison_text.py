"""A comparison on the terminal and as JSON."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mtbench.records.values import JsonObject
from mtbench.report.cells import fit_columns, gain, score
from mtbench.report.compare import Check, Comparison, Line
from mtbench.report.notes import metric_title
from mtbench.report.published import Reported
from mtbench.report.rows import Row
from mtbench.report.statistics import Difference, detectable_difference

if TYPE_CHECKING:
    from rich.console import Console

_HEADERS = (
    "task",
    "A",
    "B",
    "A - B",
    "95 % interval",
    "p",
    "p Holm",
    "p crossed†",
    "p queries‡",
    "won/lost/tied",
)


def comparison_dict(comparison: Comparison) -> JsonObject:
    """Plain JSON types; scores are fractions of 1."""
    bare = [dataclasses.replace(row, runs={}) for row in (comparison.first, comparison.second)]
    plain = dataclasses.asdict(dataclasses.replace(comparison, first=bare[0], second=bare[1]))
    for row in (plain["first"], plain["second"]):
        del row["runs"], row["variant_key"]
    for line in (*plain["tasks"], plain["average"]):
        line["seeds"]["star"] = line["seeds"]["p_holm"] is not None and line["seeds"]["p_holm"] < 0.05
    return {"schema": 1, **plain}


def checks_dict(row: Row, system: Reported, checks: Sequence[Check]) -> JsonObject:
    """A comparison with published figures as plain JSON types."""
    plain = [dataclasses.asdict(check) for check in checks]
    return {"schema": 1, "row": row.name, "published": system.system, "source": system.source, "checks": plain}


def print_comparison(comparison: Comparison, console: Console) -> None:
    """The table by task, the notes on its tests, and the queries that moved most."""
    from rich import box
    from rich.table import Table

    a, b = comparison.first, comparison.second
    console.print(f"A = {a.name} (seeds {_list(a.seeds_done)})", markup=False, highlight=False)
    console.print(f"B = {b.name} (seeds {_list(b.seeds_done)})", markup=False, highlight=False)
    lines = [*comparison.tasks, comparison.average]
    table = [_HEADERS, *(_texts(line) for line in lines)]
    keep = [i for i in range(1, len(_HEADERS)) if any(row[i] for row in table[1:])]
    sizes = [max(len(row[i]) for row in table) for i in (0, *keep)]
    for columns in fit_columns(sizes[1:], sizes[0], console.width):
        piece = [0, *(keep[i] for i in columns)]
        shown = Table(title=f"{metric_title(comparison.metric)} in percent", title_justify="left", box=box.SIMPLE_HEAD)
        for i in piece:
            shown.add_column(_HEADERS[i], justify="left" if i == 0 else "right", no_wrap=True)
        for row in table[1:]:
            shown.add_row(*(row[i] for i in piece), style="bold" if row[0] == "average" else "")
        console.print(shown)
    for note in notes(comparison):
        console.print(note, style="dim", markup=False, highlight=False)
    _print_moved(comparison, console)


def _texts(line: Line) -> tuple[str, ...]:
    test = line.seeds
    counted = "" if line.wins is None else f"{line.wins}/{line.losses}/{line.ties}"
    span = "" if test.low is None or test.high is None else f"{100 * test.low:+.2f} to {100 * test.high:+.2f}"
    return (
        line.name,
        score(line.first),
        score(line.second),
        gain(test),
        span,
        probability(test),
        "" if test.p_holm is None or line.name == "average" else f"{test.p_holm:.3f}",
        probability(line.crossed),
        probability(line.queries),
        counted,
    )


def probability(test: Difference | None) -> str:
    """A p-value with three decimals, ``<.001`` below."""
    if test is None or test.p is None:
        return ""
    return "<.001" if test.p < 0.001 else f"{test.p:.3f}"


def notes(comparison: Comparison) -> list[str]:
    """Which test, which correction and n; what these seeds could have shown."""
    test = comparison.average.seeds
    lines = list(comparison.notes)
    if test.p is None:
        lines.append(f"No seed-level test: {test.reason}. Without it a method cannot be told from its noise: no star.")
    else:
        lines.append(
            f"*: p < .05, two-sided paired t-test over seed-level averages (n = {test.n} seeds);"
            f" tasks Holm-corrected over {len(comparison.tasks)}."
        )
    smallest = detectable_difference(test.sd, test.n)
    if smallest is not None:
        lines.append(
            f"Smallest true difference {test.n} seeds would find four times out of five: {100 * smallest:.2f} points."
        )
    if comparison.average.queries is not None:
        lines.append(
            "†: crossed random effects, new seeds and new queries. ‡: paired randomisation over queries; says that"
            " these checkpoints differ, not that the methods do. Neither earns a star."
        )
    return lines


def _print_moved(comparison: Comparison, console: Console) -> None:
    if not comparison.moved:
        return
    console.print("\nQueries that moved most (A, B in percent; means over seeds):", markup=False)
    for moved in comparison.moved:
        head = f"{moved.task} {moved.query}: {100 * moved.first:.1f} and {100 * moved.second:.1f}"
        console.print(head, style="bold", markup=False, highlight=False)
        if moved.text:
            console.print(f"  {_one_line(moved.text, 150)}", markup=False, highlight=False)
        for name, passages in (("A", moved.first_passages), ("B", moved.second_passages)):
            for rank, passage in enumerate(passages, 1):
                console.print(f"    {name}{rank} {_one_line(passage, 110)}", style="dim", markup=False, highlight=False)


def print_checks(row: Row, system: Reported, checks: Sequence[Check], tolerance: float, console: Console) -> None:
    """One's own figures against published ones."""
    from rich import box
    from rich.table import Table

    console.print(
        f"{row.name} against {system.system} ({system.source}) as reported, in percent", markup=False, highlight=False
    )
    table = Table(box=box.SIMPLE_HEAD)
    for i, header in enumerate(("task", "own", "reported", "difference", "verdict")):
        table.add_column(header, justify="right" if 0 < i < 4 else "left")
    colours = {"OK": "green", "near": "yellow", "off": "red", "missing": "dim"}
    for check in checks:
        own = "" if check.own is None else f"{100 * check.own:.2f}"
        reported = "" if check.published is None else f"{100 * check.published:.2f}"
        both = check.own is not None and check.published is not None
        difference = f"{100 * ((check.own or 0) - (check.published or 0)):+.2f}" if both else ""
        table.add_row(check.task, own, reported, difference, check.verdict, style=colours[check.verdict])
    console.print(table)
    console.print(
        f"OK: within {100 * tolerance:g} points; near: within {200 * tolerance:g}; off: further away.",
        style="dim",
        highlight=False,
    )


def _list(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))


def _one_line(text: str, width: int) -> str:
    return textwrap.shorten(text, width, placeholder=" …")
