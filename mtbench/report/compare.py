"""Two rows of a leaderboard side by side, or one against published figures."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from mtbench.config import parse_value
from mtbench.errors import ConfigError, UsageError
from mtbench.per_task import read_per_task
from mtbench.records.values import Params
from mtbench.report.board import Board
from mtbench.report.comparing import compare_estimates
from mtbench.report.per_query import QueryScores, align, load_scores
from mtbench.report.published import COUNTERPARTS, Reported, reported_systems
from mtbench.report.rows import Row
from mtbench.report.settings import default_params
from mtbench.report.statistics import Difference, Estimate, correct, crossed_test, randomisation_test
from mtbench.storage.store import Store


@dataclass
class Line:
    """One task, or the average: both means, their difference, the tests, and wins and losses over queries.

    ``seeds`` is the test that may earn a star; ``crossed`` and ``queries`` are other evidence, None without
    per-query scores.
    """

    name: str
    title: str
    first: Estimate
    second: Estimate
    seeds: Difference
    crossed: Difference | None = None
    queries: Difference | None = None
    wins: int | None = None
    losses: int | None = None
    ties: int | None = None


@dataclass
class Moved:
    """A query whose score differs most between the two (means over seeds), with its text and top passages."""

    task: str
    query: str
    first: float
    second: float
    text: str = ""
    first_passages: list[str] = field(default_factory=list)
    second_passages: list[str] = field(default_factory=list)


@dataclass
class Comparison:
    """The whole comparison of ``first`` with ``second``; differences are first minus second."""

    first: Row
    second: Row
    metric: str
    tasks: list[Line]
    average: Line
    moved: list[Moved] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Check:
    """One's own figure against a published one: ``OK``, ``near``, ``off``, or ``missing``; fractions of 1."""

    task: str
    own: float | None
    published: float | None
    verdict: str


def find_row(board: Board, text: str) -> Row:
    """The row a user means: a whole name, ``tsage:tau=4``, an optimizer's name (its defaults first), or a run id.

    Raises UsageError, with all names, if there is none or more than one.
    """
    name, _, setting = text.partition(":")
    wanted = _changed(name, setting)
    rules: list[Callable[[Row], bool]] = [
        lambda r: text == r.name,
        lambda r: text == r.label and not r.variant,
        lambda r: r.optimizer == name and r.params == wanted and not r.variant,
        lambda r: text == r.label,
        lambda r: not setting and r.optimizer == name,
        lambda r: any(run["run_id"].startswith(text) for run in r.runs.values()),
    ]
    for rule in rules:
        found = [r for r in board.measured if rule(r)]
        if len(found) == 1:
            return found[0]
        if found:
            break
    names = "\n    ".join(r.name for r in (found or board.measured))
    problem = f"{len(found)} rows fit {text!r}" if found else f"no finished or started run is called {text!r}"
    raise UsageError(f"{problem}. Write one of:\n    {names}")


def _changed(optimizer: str, setting: str) -> Params:
    """What ``tau=4,beta=0.9`` changes of the optimizer's defaults; naming a default changes nothing."""
    # a comma before what has no "=" belongs to the value: weights=nq:2,fever:0.5
    pieces = [p.partition("=") for p in re.split(r",(?=[^,=]*=)", setting) if p]
    named = {key.strip(): _as_recorded(value) for key, _, value in pieces}
    defaults = default_params([optimizer])[optimizer]
    return {key: value for key, value in named.items() if key not in defaults or defaults[key] != value}


def _as_recorded(text: str) -> object:
    """A value as records have it: of numbers per task the order does not matter."""
    value = parse_value(text)
    if isinstance(value, str) and ":" in value:
        with contextlib.suppress(ConfigError):
            return read_per_task(value, "").text
    return value


def compare(board: Board, first: Row, second: Row, store: Store, most: int = 10) -> Comparison:
    """Compare two rows of one board; per-query evidence is added where ``store`` has the scores."""
    if first is second:
        raise UsageError(f"both are the row {first.name!r}: a row is all seeds of one setting")
    for row in (first, second):
        if not row.seeds_done:
            raise UsageError(f"{row.name} has no finished run with every task; {'; '.join(row.notes)}")
    lines = [
        Line(t, title, first.tasks[t], second.tasks[t], _seed_test(first, second, t))
        for t, title in board.tasks.items()
    ]
    correct([line.seeds for line in lines])
    average = Line("average", "average", first.average, second.average, _seed_test(first, second, None))
    correct([average.seeds])
    result = Comparison(first, second, board.metric, lines, average)
    if first.variant != second.variant:
        result.notes.append(
            "The two were trained in different configurations: the difference is not the optimizer's alone."
        )
    _add_queries(result, store, most)
    return result


def _seed_test(first: Row, second: Row, task: str | None) -> Difference:
    ours, theirs = (r.average if task is None else r.tasks[task] for r in (first, second))
    return compare_estimates(first, ours, second, theirs)


def _add_queries(result: Comparison, store: Store, most: int) -> None:
    rows = (result.first, result.second)
    seeds = _query_seeds(*rows)
    if not seeds[0]:
        result.notes.append("No evidence over queries: no seed in common.")
        return
    loaded = [load_scores(r.runs, s, result.metric, store) for r, s in zip(rows, seeds, strict=True)]
    missing = [m for scores in loaded for m in scores.missing]
    if missing:
        result.notes.append(f"No evidence over queries: {'; '.join(missing[:3])}.")
        return
    ours, theirs = align(*loaded)
    for line in result.tasks:
        if line.name in ours.values:
            _query_line(line, {line.name: ours.values[line.name]}, {line.name: theirs.values[line.name]})
    if len(ours.values) == len(result.tasks):
        _query_line(result.average, ours.values, theirs.values)
    result.moved = _most_moved(ours, theirs, most)


def _query_seeds(first: Row, second: Row) -> tuple[list[int], list[int]]:
    """Which seeds of each to read: those in common; a system of one figure goes with all seeds of the other."""
    if len(first.seeds_done) == 1 and first.kind != "optimizer":
        return first.seeds_done, second.seeds_done
    if len(second.seeds_done) == 1 and second.kind != "optimizer":
        return first.seeds_done, second.seeds_done
    common = sorted(set(first.seeds_done) & set(second.seeds_done))
    return common, common


def _query_line(line: Line, ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> None:
    line.crossed = crossed_test(ours, theirs)
    line.queries = randomisation_test(ours, theirs)
    difference = np.concatenate([(ours[t] - theirs[t]).mean(axis=0) for t in ours])
    difference = difference[np.isfinite(difference)]
    line.wins, line.losses = int((difference > 0).sum()), int((difference < 0).sum())
    line.ties = len(difference) - line.wins - line.losses


def _most_moved(ours: QueryScores, theirs: QueryScores, most: int) -> list[Moved]:
    found: list[tuple[float, int, Moved]] = []
    for task in ours.values:
        first, second = ours.values[task].mean(axis=0), theirs.values[task].mean(axis=0)
        distance = np.nan_to_num(np.abs(first - second))
        for rank, i in enumerate(np.argsort(-distance, kind="stable")[:most]):
            if distance[i] > 0:
                moved = Moved(task, ours.ids[task][i], float(first[i]), float(second[i]))
                found.append((-float(distance[i]), rank, moved))
    # Of equal distances each task shows one before any shows its second.
    return [moved for *_, moved in sorted(found, key=lambda item: item[:2])[:most]]


def find_other(board: Board, text: str, row: Row) -> Row | Reported:
    """What ``row`` is to be compared with: another row, a published system, or (``published``) its counterpart.

    Raises UsageError, with the names there are, if ``text`` is none of these.
    """
    systems = reported_systems(board.suite, board.metric, list(board.tasks))
    wanted = COUNTERPARTS.get(row.optimizer, "") if text == "published" else text
    found = next((s for s in systems if s.system.lower() == wanted.lower()), None)
    if text == "published" and found is None:
        names = ", ".join(s.system for s in systems) or f"none for {board.label} in {board.metric}"
        raise UsageError(f"no published figures stand for {row.name}; name a system: {names}")
    if text == "published" and found is not None:
        return found
    try:
        return find_row(board, text)
    except UsageError:
        if found is None:
            raise
        return found


def check_published(board: Board, row: Row, system: Reported, tolerance: float) -> list[Check]:
    """Each task and the average: OK within ``tolerance`` (fraction of 1), near within twice it, else off."""
    pairs = [(t, row.tasks[t].mean, system.tasks.get(t)) for t in board.tasks]
    pairs.append(("average", row.average.mean, system.average))
    return [Check(task, own, reported, _verdict(own, reported, tolerance)) for task, own, reported in pairs]


def _verdict(own: float | None, reported: float | None, tolerance: float) -> str:
    if own is None or reported is None:
        return "missing"
    distance = abs(own - reported) - 1e-12
    return "OK" if distance <= tolerance else "near" if distance <= 2 * tolerance else "off"
