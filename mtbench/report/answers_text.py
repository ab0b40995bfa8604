"""The board of answers as Markdown, CSV, LaTeX, JSON and for the terminal."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from typing import TYPE_CHECKING

from mtbench.errors import UsageError
from mtbench.report.answers_board import AnswerRow, AnswersBoard, Correlation
from mtbench.report.cells import fit_columns, gain, interval, percent, score, seeds, why
from mtbench.report.latex import escape_tex
from mtbench.report.notes import metric_title
from mtbench.report.rows import Row
from mtbench.report.statistics import Difference, Estimate
from mtbench.report.tables import escape_md

if TYPE_CHECKING:
    from rich.console import Console

FORMATS = ("terminal", "md", "csv", "tex", "json")


def title(found: AnswersBoard) -> str:
    """``kilt@1, profile mini: answers beside page R-precision, in percent``."""
    board = found.board
    return f"{board.label}, profile {board.profile}: answers beside {metric_title(found.retrieval_metric)}, in percent"


def header(found: AnswersBoard) -> list[str]:
    """Of the columns after the method's name."""
    over = f"over {found.board.baseline}"
    return ["found", over, "answers", "±", over, "KILT", "seeds", *found.board.tasks]


def lines(found: AnswersBoard) -> list[list[str]]:
    """A line for each method and for each published system, its name first."""
    tasks = list(found.board.tasks)
    table = [[row.name, *_cells(row, tasks)] for row in found.rows]
    for system in found.published:
        average = "" if system.average is None else percent(system.average)
        values = [percent(system.tasks[t]) if t in system.tasks else "" for t in tasks]
        table.append([system.system, "", "", average, "", "", "", "reported", *values])
    return table


def _cells(row: AnswerRow, tasks: list[str]) -> list[str]:
    own, other = row.answers, row.retrieval
    return [
        score(other.average) if other is not None else "",
        gain(other.gain) if other is not None else "",
        score(own.average) + (" •" if own.best_tier else ""),
        interval(own.average),
        gain(own.gain),
        score(row.kilt),
        seeds(own),
        *(score(own.tasks[t], own.task_gains.get(t)) for t in tasks),
    ]


def correlation_sentence(found: Correlation) -> str:
    """The correlation with its interval, or why there is none."""
    if found.r is None:
        return f"Gain in retrieval against gain in answers: no correlation, it {found.reason}."
    return (
        f"Gain in retrieval against gain in answers, over {found.pairs} pairs of {found.methods} methods and "
        f"{found.tasks} tasks: r = {found.r:.2f} (95 % interval {found.low:.2f} to {found.high:.2f}, bootstrap over "
        f"tasks); {found.slope:.2f} points of answers for one of retrieval."
    )


def notes(found: AnswersBoard) -> list[str]:
    """What stands under the table."""
    return [correlation_sentence(found.correlation), *found.notes]


def render_answers(found: AnswersBoard, format: str) -> str:
    """In one of the formats but ``terminal``; UsageError for another."""
    renderers = {"md": _markdown, "csv": _csv, "tex": _latex, "json": _json}
    if format not in renderers:
        raise UsageError(f"--downstream has no format {format!r}: one of {', '.join(FORMATS)}")
    return renderers[format](found)


def print_answers(found: AnswersBoard, console: Console, *, brief: bool = False) -> None:
    """As rich tables, as many side by side columns at a time as the console is wide; ``brief``: without notes."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    heads, rows = header(found), lines(found)
    sizes = [max(len(text) for text in [head, *(row[i + 1] for row in rows)]) for i, head in enumerate(heads)]
    for piece in fit_columns(sizes, max(len(row[0]) for row in rows), console.width):
        table = Table(title=title(found), title_justify="left", box=box.SIMPLE_HEAD)
        table.add_column("method", no_wrap=True)
        for i in piece:
            table.add_column(heads[i], justify="right", no_wrap=True)
        for place, row in enumerate(rows):
            style = "italic dim" if place >= len(found.rows) else ""
            table.add_row(Text(row[0], style=style), *(Text(row[i + 1], style=style) for i in piece))
        console.print(table)
    if brief:
        return
    for note in notes(found):
        console.print(note, style="dim", markup=False, highlight=False)
    for line in why(found.board):
        console.print(f"! {line}", style="yellow", markup=False, highlight=False)


def _markdown(found: AnswersBoard) -> str:
    heads = header(found)
    parts = [f"**{title(found)}**", "", "| method | " + " | ".join(map(escape_md, heads)) + " |"]
    parts.append("|:--|" + "--:|" * len(heads))
    for place, row in enumerate(lines(found)):
        texts = [escape_md(text) for text in row]
        if place >= len(found.rows):
            texts = [f"*{text}*" if text else "" for text in texts]
        parts.append("| " + " | ".join(texts) + " |")
    parts += ["", *(f"- {escape_md(note)}" for note in notes(found) + why(found.board))]
    return "\n".join(parts).rstrip() + "\n"


def _latex(found: AnswersBoard) -> str:
    heads = [escape_tex(text) for text in ["method", *header(found)]]
    parts = ["% needs \\usepackage{booktabs}", "\\begin{table*}[t]", "\\centering\\small"]
    parts.append(f"\\caption{{{escape_tex(title(found))}. {escape_tex(correlation_sentence(found.correlation))}}}")
    parts += [
        "\\begin{tabular}{l" + "r" * (len(heads) - 1) + "}",
        "\\toprule",
        " & ".join(heads) + " \\\\",
        "\\midrule",
    ]
    for place, row in enumerate(lines(found)):
        if place == len(found.rows):
            parts.append("\\midrule")
        parts.append(" & ".join(escape_tex(text) for text in row) + " \\\\")
    return "\n".join([*parts, "\\bottomrule", "\\end{tabular}", "\\end{table*}"]) + "\n"


def _csv(found: AnswersBoard) -> str:
    """One line for each method and task (``average`` too), fractions of 1."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    head = ["suite", "profile", "method", "task", "metric", "answers", "answers_gain", "answers_p_holm"]
    writer.writerow([*head, "kilt_answers", "retrieval", "retrieval_gain", "retrieval_p_holm", "seeds"])
    board = found.board
    for row in found.rows:
        for task in (*board.tasks, "average"):
            own, test = _figures(row.answers, task)
            other, other_test = (None, None) if row.retrieval is None else _figures(row.retrieval, task)
            told, other_told = test or Difference(None), other_test or Difference(None)
            metric = found.metrics.get(task, "")
            answered = [own.mean, told.difference, told.p_holm, row.kilt.mean if task == "average" else None]
            retrieved = [None if other is None else other.mean, other_told.difference, other_told.p_holm]
            names = [board.label, board.profile, row.name, task, metric]
            writer.writerow([*names, *answered, *retrieved, " ".join(map(str, own.seeds))])
    return out.getvalue()


def _figures(row: Row, task: str) -> tuple[Estimate, Difference | None]:
    if task == "average":
        return row.average, row.gain
    return row.tasks.get(task, Estimate(None, reason="missing")), row.task_gains.get(task)


def _json(found: AnswersBoard) -> str:
    board = found.board

    def plain(row: Row) -> dict[str, object]:
        told: dict[str, object] = {}
        for task in (*board.tasks, "average"):
            estimate, test = _figures(row, task)
            told[task] = {**dataclasses.asdict(estimate), "gain": None if test is None else dataclasses.asdict(test)}
        return told

    value = {
        "schema": 1,
        "suite": board.label,
        "profile": board.profile,
        "baseline": board.baseline,
        "metrics": found.metrics,
        "retrieval_metric": found.retrieval_metric,
        "rows": [
            {
                "name": row.name,
                "kind": row.answers.kind,
                "answers": plain(row.answers),
                "retrieval": None if row.retrieval is None else plain(row.retrieval),
                "kilt_answers": dataclasses.asdict(row.kilt),
            }
            for row in found.rows
        ],
        "correlation": dataclasses.asdict(found.correlation),
        "published": [dataclasses.asdict(system) for system in found.published],
        "notes": notes(found),
    }
    return json.dumps(value, ensure_ascii=False, allow_nan=False, indent=1) + "\n"
