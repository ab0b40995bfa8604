"""A board as Markdown, CSV, LaTeX (booktabs), JSON and for the terminal."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from typing import TYPE_CHECKING

from mtbench.records.values import JsonObject
from mtbench.report.board import Board
from mtbench.report.cells import Column, caption, cell, columns, fit_columns, why
from mtbench.report.latex import to_latex
from mtbench.report.rows import Row
from mtbench.report.statistics import Difference, Estimate

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

FORMATS = {"terminal": "txt", "md": "md", "csv": "csv", "tex": "tex", "html": "html", "json": "json"}
"""Format -> file suffix."""


def render(board: Board, format: str) -> str:
    """The board in one of the formats other than ``terminal``, ending in a newline."""
    if format == "html":
        from mtbench.report.page import to_html

        return to_html(board)
    return {"md": to_markdown, "csv": to_csv, "tex": to_latex, "json": to_json}[format](board)


def to_markdown(board: Board) -> str:
    """Two tables (scores, costs) and the notes."""
    parts = [f"**{caption(board)}**", ""]
    for part in ("scores", "costs"):
        chosen = [c for c in columns(board) if c.part == part]
        rows = [r for r in board.rows if part == "scores" or r.kind != "reported"]
        parts.append("| method | " + " | ".join(escape_md(c.header) for c in chosen) + " |")
        parts.append("|:--|" + "--:|" * len(chosen))
        parts += [_markdown_row(row, chosen) for row in rows]
        parts.append("")
    parts += [f"- {escape_md(note)}" for note in board.notes + why(board)]
    return "\n".join(parts).rstrip() + "\n"


def _markdown_row(row: Row, chosen: list[Column]) -> str:
    texts = [escape_md(row.name), *(escape_md(cell(row, c)) for c in chosen)]
    if row.kind == "reported":
        texts = [f"*{text}*" if text else "" for text in texts]
    return "| " + " | ".join(texts) + " |"


def escape_md(text: str) -> str:
    """Text that Markdown shows as it stands here, on one line."""
    for character in "\\|*_[]<>`":
        text = text.replace(character, "\\" + character)
    return text.replace("\n", " ")


CSV_COSTS = ("step_ms", "step_ratio", "peak_memory_bytes", "optimizer_state_bytes", "hours")


def to_csv(board: Board) -> str:
    """One line per row at full precision, fractions of 1; a missing score's cell holds the reason."""
    out = io.StringIO()
    fields = ["suite", "profile", "metric", "method", "kind", "optimizer", "params", "variant", *board.tasks]
    fields += ["average", "average_low", "average_high", "best_tier"]
    fields += ["gain", "gain_low", "gain_high", "p", "p_holm", "star"]
    fields += ["protocol", "delta_m", "delta_m_batch", "mean_rank", "mean_rank_low", "mean_rank_high", "worst"]
    fields += [*(f"{task}:gain" for task in board.tasks), *(f"{task}:p_holm" for task in board.tasks)]
    fields += [*CSV_COSTS, "trials", "seeds_done", "seeds_known", "source", "notes"]
    writer = csv.DictWriter(out, fields, lineterminator="\n")
    writer.writeheader()
    for row in board.rows:
        writer.writerow({"suite": board.label, "profile": board.profile, "metric": board.metric, **_csv_row(row)})
    return out.getvalue()


def _csv_row(row: Row) -> dict[str, object]:
    gain = row.gain or Difference(None)
    return {
        "method": row.label,
        "kind": row.kind,
        "optimizer": row.optimizer,
        "params": json.dumps(row.params) if row.params else "",
        "variant": row.variant,
        **{task: _number_or_reason(e) for task, e in row.tasks.items()},
        "average": _number_or_reason(row.average),
        "average_low": row.average.low,
        "average_high": row.average.high,
        "best_tier": row.best_tier,
        "gain": gain.difference,
        "gain_low": gain.low,
        "gain_high": gain.high,
        "p": gain.p,
        "p_holm": gain.p_holm,
        "star": gain.star,
        "protocol": row.protocol["name"] if row.protocol else "",
        **{name: measure.mean for name, measure in row.measures.items()},
        "mean_rank": row.mean_rank,
        "mean_rank_low": row.mean_rank_interval[0] if row.mean_rank_interval else None,
        "mean_rank_high": row.mean_rank_interval[1] if row.mean_rank_interval else None,
        "worst": row.worst,
        **{f"{task}:gain": t.difference for task, t in row.task_gains.items()},
        **{f"{task}:p_holm": t.p_holm for task, t in row.task_gains.items()},
        **{key: row.costs.get(key) for key in CSV_COSTS},
        "trials": row.trials,
        "seeds_done": " ".join(map(str, row.seeds_done)),
        "seeds_known": " ".join(map(str, row.seeds_known)),
        "source": row.source,
        "notes": "; ".join(row.notes),
    }


def _number_or_reason(estimate: Estimate) -> float | str:
    return estimate.mean if estimate.mean is not None else estimate.reason or "missing"


def to_dict(board: Board) -> JsonObject:
    """The board as plain JSON types; scores are fractions of 1."""
    bare = dataclasses.replace(board, rows=[dataclasses.replace(row, runs={}) for row in board.rows])
    plain = dataclasses.asdict(bare)
    for source, row in zip(board.rows, plain["rows"], strict=True):
        del row["runs"], row["variant_key"]  # how rows are kept apart within; ``variant`` tells it
        row["name"] = source.name
        if source.gain is not None:
            row["gain"]["star"] = source.gain.star
        for task, test in source.task_gains.items():
            row["task_gains"][task]["star"] = test.star
    return {"schema": 1, **plain}


def to_json(board: Board) -> str:
    """:func:`to_dict` as text."""
    return json.dumps(to_dict(board), ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def print_board(board: Board, console: Console) -> None:
    """Print the board as rich tables, as many side by side columns at a time as the console is wide."""
    for part in ("scores", "costs"):
        chosen = [c for c in columns(board) if c.part == part]
        rows = [r for r in board.rows if part == "scores" or r.kind != "reported"]
        if not rows:
            continue
        for piece in _pieces(rows, chosen, console.width):
            console.print(_rich_table(board, rows, piece, part))
    for note in board.notes:
        console.print(note, style="dim", markup=False, highlight=False)
    for line in why(board):
        console.print(f"! {line}", style="yellow", markup=False, highlight=False)


def _pieces(rows: list[Row], chosen: list[Column], width: int) -> list[list[Column]]:
    """The columns in groups that fit beside the method's name."""
    sizes = [max(len(text) for text in [c.header, *(cell(r, c) for r in rows)]) for c in chosen]
    first = max([len(r.name) for r in rows] + [6])
    return [[chosen[i] for i in piece] for piece in fit_columns(sizes, first, width)]


def _rich_table(board: Board, rows: list[Row], chosen: list[Column], part: str) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    title = caption(board) if part == "scores" else "Costs"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("method", no_wrap=True)
    for column in chosen:
        table.add_column(column.header, justify="right", no_wrap=True)
    for row in rows:
        style = "italic dim" if row.kind == "reported" else "bold" if row.best_tier else ""
        table.add_row(*(Text(t, style=style) for t in [row.name, *(cell(row, c) for c in chosen)]))
    return table
