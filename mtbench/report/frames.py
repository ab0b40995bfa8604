"""``mtbench.leaderboard``, ``compare`` and ``records``: results as pandas objects, for notebooks and programs.

Scores are fractions of 1, as everywhere in files. A board and a comparison show themselves in a notebook as the page
of ``--format html`` does, with their notes; whatever is made from them (a column, a selection) is a plain DataFrame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from mtbench.errors import UsageError
from mtbench.records.files import load_records
from mtbench.report.board import Board
from mtbench.report.cells import caption, cell, columns, gain, score, why
from mtbench.report.compare import Check, Comparison, Line, check_published, find_other, find_row
from mtbench.report.compare import compare as compare_rows
from mtbench.report.export import COLUMNS, flat_rows
from mtbench.report.leaderboard import load_board, suite_name
from mtbench.report.published import Reported
from mtbench.report.rows import Row
from mtbench.report.statistics import Difference
from mtbench.storage.places import committed_results, default_root, expanded
from mtbench.storage.store import Store


class ShownFrame(pd.DataFrame):
    """A DataFrame that a notebook shows with a caption and notes, numbers as in the terminal."""

    _metadata: ClassVar[list[str]] = ["shown"]
    shown: str
    """The display as HTML."""

    @property
    def _constructor(self) -> Callable[..., pd.DataFrame]:
        return pd.DataFrame  # a part of a board is not the board: its notes would not hold

    def _repr_html_(self) -> str:
        return self.shown


def leaderboard(
    suite: str | Path = "kilt",
    profile: str = "mini",
    *,
    metric: str | None = None,
    baseline: str = "naive",
    published: bool = False,
    results: str | Path | None = None,
) -> pd.DataFrame:
    """The board of ``mtbench leaderboard``, best row first.

    Index: the row's name. Columns: ``kind`` (``optimizer``, ``baseline``, ``external``, ``reported``), a column per
    task, ``average`` with ``average_low`` and ``average_high`` (95 % over seeds), ``gain`` over the baseline with
    ``gain_low``, ``gain_high`` and ``p`` (Holm-corrected), ``best_tier``, ``seeds`` (how many), ``step_ms``, ``hours``,
    ``notes``. Missing numbers are NaN; ``notes`` says why. Raises UsageError where there are no runs.
    """
    board = load_board(_results(results), str(suite), profile, metric=metric, baseline=baseline, published=published)
    frame = pd.DataFrame([_board_line(row, board) for row in board.rows]).set_index("method")
    kinds = {"kind": object, "notes": object, "best_tier": "boolean", "seeds": int}
    frame = frame.astype({name: kinds.get(name, float) for name in frame.columns})
    return _shown(frame, _board_html(board))


def compare(
    first: str,
    second: str,
    suite: str | Path = "kilt",
    profile: str = "mini",
    *,
    metric: str | None = None,
    results: str | Path | None = None,
    store: str | Path | None = None,
    tolerance: float = 0.01,
) -> pd.DataFrame:
    """Two rows of a board task by task, or one against published figures, as ``mtbench compare`` has them.

    Index: task, and ``average`` last. Columns: ``first``, ``second``, ``difference`` with ``low`` and ``high``, ``p``
    and ``p_holm`` (over seeds), ``n`` (seeds), ``p_crossed`` (seeds and queries both random), ``won``, ``lost`` and
    ``tied`` (queries; NaN without per-query scores in ``store``). Against a published system: ``first``, ``second`` (as
    printed), ``difference`` and ``verdict`` (``OK`` within ``tolerance``, a fraction of 1; ``near``, ``off``,
    ``missing``). Raises UsageError for a row that there is not.
    """
    board = load_board(_results(results), str(suite), profile, metric=metric, summary=False)
    row = find_row(board, first)
    other = find_other(board, second, row)
    if isinstance(other, Reported):
        return _against_published(board, row, other, tolerance)
    found = compare_rows(board, row, other, Store(default_root() if store is None else expanded(store)), most=0)
    frame = pd.DataFrame([_comparison_line(line) for line in [*found.tasks, found.average]]).set_index("task")
    counts = ["n", "won", "lost", "tied"]
    frame = frame.astype({name: "Int64" if name in counts else float for name in frame.columns})
    return _shown(frame, _comparison_html(found))


def records(
    results: str | Path | None = None, *, suite: str | Path | None = None, profile: str | None = None
) -> pd.DataFrame:
    """Every readable record as a long table: a line per run, task and metric, columns as in ``mtbench export``.

    Raises UsageError where there are no records.
    """
    folder = _results(results)
    name = None if suite is None else suite_name(str(suite))
    loaded = [item for item in load_records(folder, suite=name, profile=profile) if item.usable]
    if not loaded:
        raise UsageError(
            f"no records below {folder}/runs\n  Make some: mtbench run --optimizer naive,tsage --suite kilt"
        )
    return pd.DataFrame(list(flat_rows(item.record for item in loaded)), columns=list(COLUMNS))


def _results(results: str | Path | None) -> Path:
    return committed_results() if results is None else expanded(results)


def _shown(frame: pd.DataFrame, html: str) -> pd.DataFrame:
    shown = ShownFrame(frame)
    shown.shown = html
    return shown


def _board_line(row: Row, board: Board) -> dict[str, Any]:
    test = row.gain or Difference(None)
    return {
        "method": row.name,
        "kind": row.kind,
        **{task: row.tasks[task].mean for task in board.tasks},
        "average": row.average.mean,
        "average_low": row.average.low,
        "average_high": row.average.high,
        "gain": test.difference,
        "gain_low": test.low,
        "gain_high": test.high,
        "p": test.p_holm,
        "best_tier": row.best_tier,
        "seeds": len(row.seeds_done),
        "step_ms": row.costs.get("step_ms"),
        "hours": row.costs.get("hours"),
        "notes": "; ".join(row.notes),
    }


def _comparison_line(line: Line) -> dict[str, Any]:
    test = line.seeds
    return {
        "task": line.name,
        "first": line.first.mean,
        "second": line.second.mean,
        "difference": test.difference,
        "low": test.low,
        "high": test.high,
        "p": test.p,
        "p_holm": test.p_holm,
        "n": test.n,
        "p_crossed": line.crossed.p if line.crossed is not None else None,
        "won": line.wins,
        "lost": line.losses,
        "tied": line.ties,
    }


def _against_published(board: Board, row: Row, system: Reported, tolerance: float) -> pd.DataFrame:
    checks = check_published(board, row, system, tolerance)
    lines = [
        {
            "task": check.task,
            "first": check.own,
            "second": check.published,
            "difference": None if check.own is None or check.published is None else check.own - check.published,
            "verdict": check.verdict,
        }
        for check in checks
    ]
    head = f"{row.name} against {system.system}, as printed in {system.source}; {caption(board)}"
    body = [[c.task, _points(c.own), _points(c.published), c.verdict] for c in checks]
    return _shown(
        pd.DataFrame(lines).set_index("task"), _html(head, ["task", "own", "published", ""], body, _real(board, checks))
    )


def _real(board: Board, checks: Sequence[Check]) -> list[str]:
    if board.profile == "paper" or all(check.own is None for check in checks):
        return []
    return [f"The papers' figures are on the real data; the profile {board.profile!r} is not."]


def _points(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f}"


def _board_html(board: Board) -> str:
    chosen = [c for c in columns(board) if c.part == "scores"]
    body = [[row.name, *(cell(row, column) for column in chosen)] for row in board.rows]
    return _html(caption(board), ["method", *(c.header for c in chosen)], body, board.notes + why(board))


def _comparison_html(found: Comparison) -> str:
    head = f"A = {found.first.name}, B = {found.second.name}"
    body = []
    for line in [*found.tasks, found.average]:
        p = "" if line.seeds.p_holm is None else f"{line.seeds.p_holm:.3g}"
        body.append([line.title, score(line.first), score(line.second), gain(line.seeds), p])
    return _html(head, ["task", "A", "B", "A - B", "p (Holm)"], body, found.notes)


def _html(head: str, headers: Sequence[str], body: Sequence[Sequence[str]], notes: Sequence[str]) -> str:
    """A table as notebooks style it, its caption above and its notes below."""
    top = "".join(f"<th>{escape(text)}</th>" for text in headers)
    rows = "\n".join(
        f"<tr><th>{escape(first)}</th>{''.join(f'<td>{escape(text)}</td>' for text in rest)}</tr>"
        for first, *rest in body
    )
    below = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return (
        f'<table class="dataframe"><caption>{escape(head)}</caption><thead><tr>{top}</tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody></table>\n" + (f"<ul>{below}</ul>" if below else "")
    )
