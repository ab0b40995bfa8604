"""What ``mtbench run`` tells when it is done: means over seeds with intervals, gains, where the records are, what next.

The table is made of the runs of this command alone; the leaderboard has all that were ever made.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mtbench.records.files import Loaded
from mtbench.records.identity import record_path
from mtbench.records.record import BASELINES, RunRecord
from mtbench.report.answering import has_reader, retrieval_alone
from mtbench.report.board import Board
from mtbench.report.cells import Column, caption, cell, fit_columns
from mtbench.report.folding import ALL
from mtbench.report.leaderboard import build_board
from mtbench.report.rows import Row
from mtbench.storage.places import committed_results, default_results

if TYPE_CHECKING:
    from rich.console import Console


def print_finished(records: Sequence[RunRecord], results: Path, console: Console) -> None:
    """One line per method, the average and the gain over naive first, tasks after; never wider than the console.

    Where the tasks do not fit beside the methods, methods stand beside each other instead.
    """
    if not records:
        return
    loaded = [Loaded(record, record_path(results, record["spec"], record["run_id"])) for record in records]
    _print_retrieval(retrieval_alone(loaded), console)
    if any(has_reader(item) and item.record["status"] == "complete" for item in loaded):
        from mtbench.report.answers_board import build_answers
        from mtbench.report.answers_text import print_answers

        print_answers(build_answers([item for item in loaded if has_reader(item)], limited=True), console, brief=True)


def _print_retrieval(loaded: Sequence[Loaded], console: Console) -> None:
    from rich.text import Text

    if not loaded:  # rows that only answer
        return
    board = build_board(loaded, protocol=ALL, limited=True)
    chosen = _columns(board)
    console.print(Text(caption(board) + " on dev", style="italic"))
    if not _print_by_method(board.rows, chosen, console):
        _print_by_task(board.rows, chosen, console)


def print_whereabouts(records: Sequence[RunRecord], results: Path, console: Console) -> None:
    """The records' paths, and the commands that go on from here."""
    if not records:
        return
    places = [record_path(results, record["spec"], record["run_id"]) for record in records]
    own = [p for p, r in zip(places, records, strict=True) if r["spec"]["optimizer"]["name"] not in BASELINES]
    if len(own) == 1:
        console.print(f"Record: {_short(own[0])}", markup=False, highlight=False, soft_wrap=True)
    else:
        folder = results / "runs" / places[0].relative_to(results / "runs").parts[0]
        console.print(f"Records: {len(places)} below {_short(folder)}", markup=False, highlight=False, soft_wrap=True)
    following = _next_command(records, results)
    if following:
        console.print(f"Next: {following}", markup=False, highlight=False, soft_wrap=True)


def _next_command(records: Sequence[RunRecord], results: Path) -> str:
    spec = records[0]["spec"]
    if any(record["spec"].get("limit") for record in records) or not _any_complete(records):
        return ""
    where = f" --suite {spec['suite']}" + (f" --profile {spec['profile']}" if spec["profile"] != "mini" else "")
    if results.absolute() not in (committed_results().absolute(), default_results().absolute()):
        where += f" --results {shlex.quote(str(_short(results)))}"
    names = dict.fromkeys(r["spec"]["optimizer"]["name"] for r in records if r["status"] == "complete")
    trained = [name for name in names if name not in BASELINES]
    if len(trained) == 2 and not any({"protocol", "reader"} & record["spec"].keys() for record in records):
        first, second = sorted(trained, key=lambda name: name == "naive")
        return f"mtbench compare {first} {second}{where}"
    if any("downstream" in record for record in records):
        where += " --downstream"
    return f"mtbench leaderboard{where}"


def _short(path: Path) -> Path:
    """The path from the working directory on, where it lies below it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_absolute() and path.is_relative_to(here) else path


def _any_complete(records: Sequence[RunRecord]) -> bool:
    return any(record["status"] == "complete" for record in records)


def _columns(board: Board) -> list[Column]:
    """What is worth a column for these runs: an interval of several seeds, gains where there is a baseline."""
    chosen = [Column("average", "average")]
    if any(row.average.high is not None for row in board.rows):
        chosen.append(Column("interval", "±"))
    if any(row.gain is not None and row.kind == "optimizer" for row in board.rows):
        chosen.append(Column("gain", f"over {board.baseline}"))
    if any(len(row.seeds_known) > 1 for row in board.rows):
        chosen.append(Column("seeds", "seeds"))
    return chosen + [Column(f"task:{name}", name) for name in board.tasks]


def _text(row: Row, column: Column) -> str:
    if column.key == "gain" and row.kind != "optimizer":  # what the baselines lack is no finding
        return ""
    return cell(row, column).removesuffix(" •")


def _print_by_method(rows: Sequence[Row], chosen: Sequence[Column], console: Console) -> bool:
    """A line per method; False, and nothing printed, where that is too wide for the console."""
    headers = [column.header for column in chosen]
    lines = [[_text(row, column) for column in chosen] for row in rows]
    sizes = [max(map(len, texts)) for texts in zip(headers, *lines, strict=True)]
    names = [row.name for row in rows]
    if len(fit_columns(sizes, max(map(len, ["method", *names])), console.width)) > 1:
        return False
    _print_table("method", headers, list(zip(names, lines, strict=True)), console)
    return True


def _print_by_task(rows: Sequence[Row], chosen: Sequence[Column], console: Console) -> None:
    """A line per column of the other form, in as many tables as the methods need."""
    names = [row.name for row in rows]
    lines = [(column.header, [_text(row, column) for row in rows]) for column in chosen]
    sizes = [max(map(len, texts)) for texts in zip(names, *(texts for _, texts in lines), strict=True)]
    first = max(len(column.header) for column in chosen)
    for piece in fit_columns(sizes, first, console.width):
        part = [(header, [texts[i] for i in piece]) for header, texts in lines]
        _print_table("", [names[i] for i in piece], part, console)


def _print_table(first: str, headers: Sequence[str], lines: Sequence[tuple[str, list[str]]], console: Console) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column(first, no_wrap=True)
    for header in headers:
        table.add_column(header, justify="right", no_wrap=True)
    for name, texts in lines:
        table.add_row(Text(name), *map(Text, texts))
    console.print(table)
