"""A paper's table filled from records: ours and the published figures side by side, tested against one line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mtbench.config import parse_value, profile_name
from mtbench.errors import UsageError
from mtbench.records.files import Loaded, load_records
from mtbench.report.answering import retrieval_alone
from mtbench.report.board import Board
from mtbench.report.comparing import compare_estimates
from mtbench.report.folding import ALL
from mtbench.report.layouts import Layout, LayoutLine
from mtbench.report.leaderboard import build_board, suite_name
from mtbench.report.published import Reported, published_system, same_task
from mtbench.report.rows import Group, Row, make_row
from mtbench.report.settings import Flat, default_params
from mtbench.report.statistics import Difference, Estimate, correct
from mtbench.report.variants import whole


@dataclass(slots=True)
class LayoutCell:
    """A task or the average of one line. Fractions of 1; None where there is no such figure."""

    own: Estimate | None = None
    published: float | None = None
    test: Difference | None = None
    """Ours against ours of the reference line, paired by seed."""


@dataclass(slots=True)
class FilledLine:
    """One line of the table, for one metric."""

    system: str
    cells: dict[str, LayoutCell]
    """By column: the tasks as ``published.csv`` names them, and ``average``."""
    own: str = ""
    """Name of the row of ours, empty without one."""
    seeds: list[int] = field(default_factory=list)
    command: str = ""
    """Where no finished run fills the line: the command that makes one; empty where no run of mtbench can."""
    reference: bool = False
    optimizer: bool = True
    """Whether the row of ours is a trained one: a baseline is tested, but in a family of its own."""


@dataclass(slots=True)
class Block:
    """The table for one metric."""

    metric: str
    lines: list[FilledLine]


@dataclass(slots=True)
class FilledLayout:
    """A layout with figures."""

    layout: Layout
    suite: str
    """``NAME@VERSION`` of the runs, or the suite's name where there are none."""
    profile: str
    columns: list[str]
    blocks: list[Block]
    notes: list[str] = field(default_factory=list)


def load_layout(
    results: Path, layout: Layout, profile: str, *, suite: str | None = None, reference: str | None = None
) -> FilledLayout:
    """Fill ``layout`` from the records below ``results``; a table without any run of ours is a table still.

    ``suite`` (another one with tasks of the same names) and ``reference`` (a system of the layout) replace the
    layout's own. UsageError for a reference that the layout has not.
    """
    suite, profile = suite_name(suite or layout.suite), profile_name(profile)
    chosen = reference or layout.reference
    systems = [line.system for line in layout.lines]
    if chosen and chosen not in systems:
        raise UsageError(
            f"--reference {chosen!r}: the layout {layout.name} has the lines\n    " + "\n    ".join(systems)
        )
    loaded = load_records(results, suite=suite, profile=profile, summary=True) if layout.split == "dev" else []
    columns = [*layout.columns, *(["average"] if layout.average else [])]
    filled = FilledLayout(layout, suite, profile, columns, [])
    for metric in layout.metrics:
        board = _board(loaded, metric)
        if board is not None:
            filled.suite = board.label
        block = Block(metric, [_line(filled, line, metric, board) for line in layout.lines])
        _test(block, chosen, columns)
        _ask_for_seeds(block)
        filled.blocks.append(block)
    filled.notes = _notes(filled, chosen)
    return filled


def _board(loaded: Sequence[Loaded], metric: str) -> Board | None:
    """The board of one metric; None where no record can be ranked by it."""
    if not any(item.usable for item in loaded):
        return None
    try:
        return build_board(retrieval_alone(loaded), metric=metric, protocol=ALL)
    except UsageError:  # no record has the metric, or the usual baseline is missing
        return None


def _line(filled: FilledLayout, line: LayoutLine, metric: str, board: Board | None) -> FilledLine:
    layout = filled.layout
    reported = published_system(layout.source, layout.table, layout.split, metric, line.system)
    row = _own_row(line, board, metric) if board is not None else None
    cells = {column: _cell(column, row, reported) for column in filled.columns}
    result = FilledLine(line.system, cells)
    if row is None:
        result.command = line.command(filled.suite.partition("@")[0], filled.profile) if layout.split == "dev" else ""
        return result
    result.own, result.seeds, result.optimizer = row.name, row.seeds_done, row.kind == "optimizer"
    return result


def _cell(column: str, row: Row | None, reported: Reported | None) -> LayoutCell:
    cell = LayoutCell()
    if reported is not None:
        cell.published = reported.average if column == "average" else reported.tasks.get(column)
    if row is not None:
        own = (
            row.average
            if column == "average"
            else next((e for t, e in row.tasks.items() if same_task(column, t)), None)
        )
        cell.own = own if own is not None and own.mean is not None else None
    return cell


def _own_row(line: LayoutLine, board: Board, metric: str) -> Row | None:
    """The finished row that stands for a line; None where there is none."""
    if line.trained:
        return _trained_row(line.trained, board, metric)
    if line.row:
        return next((r for r in board.measured if r.name == line.row and r.average.mean is not None), None)
    if not line.optimizer:
        return None
    usual = next((_flat(r) for r in board.measured if r.kind == "optimizer" and not r.variant), None)
    defaults = default_params([line.optimizer])[line.optimizer]
    params = {key: value for key, value in line.params.items() if defaults.get(key, _NOTHING) != value}
    for row in board.measured:
        if row.optimizer != line.optimizer or row.params != params or row.average.mean is None:
            continue
        if row.kind != "optimizer":
            if not row.variant:
                return row
        elif usual is not None and _differs_in(_flat(row), usual, line.set):
            return row
    return None


_NOTHING = object()


def _flat(row: Row) -> Flat:
    return whole(next(iter(row.runs.values()))["spec"])


def _differs_in(flat: Flat, usual: Flat, settings: dict[str, object]) -> bool:
    """Whether a configuration has ``settings`` and is the usual one in all else."""
    wanted = {**usual, **settings}
    return all(_same(flat.get(key), wanted.get(key)) for key in {*flat, *wanted})


def _same(value: object, wanted: object) -> bool:
    """Equal, a word of the layout (``none``) meaning what it means after ``--set`` too."""
    return value == wanted or (isinstance(wanted, str) and value == parse_value(wanted))


def _trained_row(task: str, board: Board, metric: str) -> Row | None:
    """The runs on ``task`` alone, scored on every task: those of the row ``per-task``, else of another of its kind."""
    rows = [r for r in board.measured if r.protocol and r.protocol["name"] == "per-task"]
    for row in sorted(rows, key=lambda r: r.name != "per-task"):
        runs = {
            seed: run
            for seed, record in row.runs.items()
            for own, run in record.get("folded", {}).items()
            if same_task(task, own)
        }
        found = make_row(Group(("naive", "{}", "", ""), runs), list(board.tasks), metric) if runs else None
        if found is not None and found.seeds_done:
            found.label = f"{row.name}: {task}"
            return found
    return None


def _test(block: Block, reference: str, columns: Sequence[str]) -> None:
    """Test every line of ours against the reference: on tasks Holm-corrected by line, on averages over lines."""
    base = next((line for line in block.lines if line.system == reference), None)
    if base is None or not base.own:
        return
    base.reference = True
    for line in block.lines:
        if line is base or not line.own:
            continue
        for column in columns:
            cell, other = line.cells[column], base.cells[column]
            if cell.own is not None and other.own is not None:
                cell.test = _difference(line, cell.own, base, other.own)
        correct([c.test for name, c in line.cells.items() if name != "average" and c.test is not None])
    for kind in (True, False):
        averages = [
            line.cells["average"].test for line in block.lines if line.optimizer is kind and "average" in columns
        ]
        correct([test for test in averages if test is not None])


def _ask_for_seeds(block: Block) -> None:
    """Missing runs are asked for over the seeds of the reference, without which there is no test."""
    seeds = next((line.seeds for line in block.lines if line.reference), [])
    if len(seeds) > 1:
        for line in block.lines:
            line.command += f" --seeds {','.join(map(str, seeds))}" if line.command else ""


def _difference(line: FilledLine, own: Estimate, base: FilledLine, other: Estimate) -> Difference:
    rows = [Row(x.own, x.own, "optimizer" if x.optimizer else "baseline") for x in (line, base)]
    return compare_estimates(rows[0], own, rows[1], other)


def _notes(filled: FilledLayout, reference: str) -> list[str]:
    layout, lines = filled.layout, [line for block in filled.blocks for line in block.lines]
    notes = list(layout.notes)
    published = [c.published for line in lines for c in line.cells.values()]
    if all(value is None for value in published):
        notes.append("The file of published figures holds no row of this table: the paper's lines are blank.")
    elif any(value is None for value in published):
        notes.append("Blank in a paper's line: the file of published figures holds no such value.")
    if filled.profile != "paper" and any(line.own for line in lines):
        notes.append(
            f"The published figures are on the real data, the profile {filled.profile!r} is not: compare the order of"
            " lines within ours and within the paper's, not ours with the paper's."
        )
    tests = [c.test for line in lines for c in line.cells.values() if c.test is not None and c.test.p is not None]
    if tests:
        counts = sorted({test.n for test in tests})
        notes.append(
            f"*: differs from ours of {reference!r}, p < .05, two-sided paired t-test over seeds (n ="
            f" {', '.join(map(str, counts))}); averages Holm-corrected over the lines, tasks over those of their line."
        )
    single = [line.system for line in filled.blocks[0].lines if len(line.seeds) == 1 and line.optimizer]
    if single:
        notes.append(f"One seed ({', '.join(single[:4])}): no test; one seed cannot tell a method from its noise.")
    commands = dict.fromkeys(line.command for line in lines if line.command)
    notes += [f"To fill {_names(lines, command)}: {command}" for command in commands]
    return notes


def _names(lines: Sequence[FilledLine], command: str) -> str:
    return ", ".join(dict.fromkeys(repr(line.system) for line in lines if line.command == command))
