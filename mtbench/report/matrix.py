"""The cross matrix: runs on one task each, scored on every task (Maillard et al. 2021, Table 6)."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mtbench.errors import UsageError
from mtbench.report.board import Board
from mtbench.report.cells import caption, gain, percent
from mtbench.report.latex import escape_tex
from mtbench.report.published import Reported, reported_matrix
from mtbench.report.rows import Row, task_values
from mtbench.report.statistics import Difference, Estimate, correct, estimate, paired_t

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(slots=True)
class Matrix:
    """``cells[trained][task]``: the score of the runs on ``trained``, and its difference to the run on ``task`` itself
    (None on the diagonal). Fractions of 1."""

    row: str
    """The name of the row of the board whose runs these are."""
    tasks: list[str]
    cells: dict[str, dict[str, tuple[Estimate, Difference | None]]]
    published: dict[str, Reported] = field(default_factory=dict)
    """Task trained on -> the paper's figures, where it has them."""
    notes: list[str] = field(default_factory=list)


def matrices(board: Board, published: bool = False) -> list[Matrix]:
    """A matrix for each row ``per-task`` of a board that was read with ``protocol="per-task"``; ``published``: with the
    paper's figures below.

    Tests: paired over seeds, Holm-corrected over a column. UsageError, with the command, where there is none.
    """
    rows = [r for r in board.rows if r.protocol and r.protocol["name"] == "per-task"]
    if not rows:
        raise UsageError(
            f"no run of the protocol per-task on {board.label} in the profile {board.profile}\n"
            f"  Make some: mtbench run --suite {board.suite} --profile {board.profile} --optimizer naive "
            "--protocol per-task"
        )
    return [_matrix(row, board, published) for row in rows]


def _matrix(row: Row, board: Board, published: bool) -> Matrix:
    tasks = list(board.tasks)
    scores: dict[str, dict[str, dict[int, float]]] = {t: {u: {} for u in tasks} for t in tasks}
    for seed, record in row.runs.items():
        for trained, run in record.get("folded", {}).items():
            if run["status"] == "complete" and trained in scores:
                for task, value in task_values(run, board.metric).items():
                    if task in scores[trained]:
                        scores[trained][task][seed] = value
    known = [t for t in tasks if any(scores[t].values())]
    cells: dict[str, dict[str, tuple[Estimate, Difference | None]]] = {t: {} for t in known}
    for task in tasks:
        tests = {t: paired_t(scores[t][task], scores[task][task]) for t in known if t != task}
        correct([test for test in tests.values() if test.p is not None])
        for trained in known:
            cells[trained][task] = estimate(scores[trained][task]), tests.get(trained)
    reported = reported_matrix(board.suite, board.metric, tasks) if published else {}
    matrix = Matrix(row.name, tasks, cells, reported)
    if published and not reported:
        matrix.notes.append(f"No published figures are comparable with {board.label} in {board.metric}.")
    missing = [t for t in tasks if t not in known]
    if missing:
        matrix.notes.append(f"No finished run on {', '.join(missing)}.")
    matrix.notes += [f"{row.name}: {note}" for note in row.notes]
    return matrix


def lines(matrix: Matrix) -> list[list[str]]:
    """A header and a line for each task trained on: the score, and in brackets the difference to the column's own."""
    table = [["trained on", *matrix.tasks]]
    for trained, cells in matrix.cells.items():
        table.append([trained, *(_text(*cells[task]) for task in matrix.tasks)])
        if trained in matrix.published:
            reported = matrix.published[trained]
            values = [reported.tasks.get(task) for task in matrix.tasks]
            table.append([reported.system, *("" if v is None else percent(v) for v in values)])
    return table


def _text(score: Estimate, test: Difference | None) -> str:
    if score.mean is None:
        return score.reason or "missing"
    told = gain(test)
    return percent(score.mean) + (f" ({told})" if told else "")


def title(board: Board, matrix: Matrix) -> str:
    """``per-task, kilt@1, profile mini, page R-precision in percent: trained on one task, scored on each``."""
    return f"{matrix.row}, {caption(board)}: trained on one task, scored on each"


def render_matrices(board: Board, found: list[Matrix], format: str) -> str:
    """In one of the formats ``md``, ``csv``, ``tex``, ``json``; UsageError for another."""
    renderers = {"md": _markdown, "csv": _csv, "tex": _latex, "json": _json}
    if format not in renderers:
        raise UsageError(f"--view matrix has no format {format!r}: one of terminal, {', '.join(renderers)}")
    return renderers[format](board, found)


def print_matrices(board: Board, found: list[Matrix], console: Console) -> None:
    """As rich tables."""
    from rich import box
    from rich.table import Table

    for matrix in found:
        header, *rows = lines(matrix)
        table = Table(title=title(board, matrix), title_justify="left", box=box.SIMPLE_HEAD)
        table.add_column(header[0], no_wrap=True)
        for name in header[1:]:
            table.add_column(name, justify="right", no_wrap=True)
        for row in rows:
            table.add_row(*row, style="" if row[0] in matrix.cells else "italic dim")
        console.print(table)
        for note in [*matrix.notes, NOTE]:
            console.print(note, style="dim", markup=False, highlight=False)


NOTE = (
    "In brackets: the difference to the run on the column's own task; * p < .05, paired t-test over seeds, "
    "Holm-corrected over the column."
)


def _markdown(board: Board, found: list[Matrix]) -> str:
    parts = []
    for matrix in found:
        header, *rows = lines(matrix)
        parts += [f"**{title(board, matrix)}**", "", "| " + " | ".join(header) + " |"]
        parts += ["|:--|" + "--:|" * (len(header) - 1), *("| " + " | ".join(row) + " |" for row in rows), ""]
        parts += [f"- {note}" for note in [*matrix.notes, NOTE]] + [""]
    return "\n".join(parts).rstrip() + "\n"


def _csv(board: Board, found: list[Matrix]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["suite", "profile", "metric", "row", "trained", "task", "score", "difference", "p_holm", "seeds"])
    for matrix in found:
        for trained, cells in matrix.cells.items():
            for task, (score, test) in cells.items():
                told = test or Difference(None)
                figures = [score.mean, told.difference, told.p_holm, " ".join(map(str, score.seeds))]
                writer.writerow([board.label, board.profile, board.metric, matrix.row, trained, task, *figures])
    return out.getvalue()


def _json(board: Board, found: list[Matrix]) -> str:
    plain = [
        {
            "row": matrix.row,
            "tasks": matrix.tasks,
            "cells": {
                trained: {
                    task: {
                        "score": score.mean,
                        "difference": test.difference if test else None,
                        "p_holm": test.p_holm if test else None,
                        "seeds": {str(seed): value for seed, value in score.seeds.items()},
                    }
                    for task, (score, test) in cells.items()
                }
                for trained, cells in matrix.cells.items()
            },
            "published": {trained: reported.tasks for trained, reported in matrix.published.items()},
            "notes": matrix.notes,
        }
        for matrix in found
    ]
    told = {"schema": 1, "suite": board.label, "profile": board.profile, "metric": board.metric, "matrices": plain}
    return json.dumps(told, ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def _latex(board: Board, found: list[Matrix]) -> str:
    parts = ["% needs \\usepackage{booktabs}"]
    for matrix in found:
        header, *rows = ([escape_tex(text) for text in line] for line in lines(matrix))
        parts += ["\\begin{table*}[t]", "\\centering\\small", f"\\caption{{{escape_tex(title(board, matrix))}. "]
        parts[-1] += f"{escape_tex(NOTE)}}}"
        parts += ["\\begin{tabular}{l" + "r" * (len(header) - 1) + "}", "\\toprule", " & ".join(header) + " \\\\"]
        parts += ["\\midrule", *(" & ".join(row) + " \\\\" for row in rows), "\\bottomrule"]
        parts += ["\\end{tabular}", "\\end{table*}"]
    return "\n".join(parts) + "\n"
