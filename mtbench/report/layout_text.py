"""A filled layout as terminal text, Markdown, CSV, LaTeX, HTML and JSON: under each of our lines the paper's."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from html import escape
from typing import TYPE_CHECKING

from mtbench.records.values import JsonObject
from mtbench.report.cells import fit_columns, percent, score
from mtbench.report.latex import escape_tex, signed
from mtbench.report.layout_table import Block, FilledLayout, FilledLine, LayoutCell
from mtbench.report.notes import metric_title
from mtbench.report.tables import escape_md

if TYPE_CHECKING:
    from rich.console import Console

OURS, PAPER = "ours", "paper"


def render_layout(filled: FilledLayout, format: str) -> str:
    """The table in one of the formats other than ``terminal``, ending in a newline."""
    return {"md": _markdown, "csv": _csv, "tex": _latex, "json": _json, "html": _html}[format](filled)


def print_layout(filled: FilledLayout, console: Console) -> None:
    """Print the table, as many side by side columns at a time as the console is wide, and its notes."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    for block in filled.blocks:
        lines = _lines(block, filled.columns)
        headers = filled.columns
        sizes = [max(map(len, texts)) for texts in zip(headers, *(line[2:] for line in lines), strict=True)]
        first = max(len(line[0]) for line in lines) + len(PAPER) + 3  # two columns stand before the figures
        console.print(Text(_caption(filled, block), style="italic"))
        for piece in fit_columns(sizes, first, console.width):
            table = Table(box=box.SIMPLE_HEAD)
            table.add_column("system", no_wrap=True)
            table.add_column("", no_wrap=True)
            for i in piece:
                table.add_column(headers[i], justify="right", no_wrap=True)
            for name, who, *texts in lines:
                style = "italic dim" if who == PAPER else ""
                table.add_row(Text(name), *(Text(t, style=style) for t in [who, *(texts[i] for i in piece)]))
            console.print(table)
    for note in filled.notes:
        console.print(note, style="dim", markup=False, highlight=False)


def _lines(block: Block, columns: list[str]) -> list[list[str]]:
    """Two lines a system: name, whose figures, and a text per column."""
    found = []
    for line in block.lines:
        found.append([line.system, OURS, *(_own_text(line, line.cells[c]) for c in columns)])
        found.append(["", PAPER, *(_published_text(line.cells[c]) for c in columns)])
    return found


def _own_text(line: FilledLine, cell: LayoutCell) -> str:
    if cell.own is not None:
        return score(cell.own, cell.test)
    return "–" if line.own or line.command else ""


def _published_text(cell: LayoutCell) -> str:
    return "" if cell.published is None else percent(cell.published)


def _caption(filled: FilledLayout, block: Block) -> str:
    several = f" ({metric_title(block.metric)})" if len(filled.blocks) > 1 else ""
    return f"{filled.layout.title}{several}; ours: {filled.suite}, profile {filled.profile}, in percent"


def _markdown(filled: FilledLayout) -> str:
    parts = []
    for block in filled.blocks:
        parts += [f"**{escape_md(_caption(filled, block))}**", ""]
        parts.append("| system | | " + " | ".join(escape_md(c) for c in filled.columns) + " |")
        parts.append("|:--|:--|" + "--:|" * len(filled.columns))
        for name, who, *texts in _lines(block, filled.columns):
            shown = [escape_md(text) for text in (who, *texts)]
            if who == PAPER:
                shown = [f"*{text}*" if text else "" for text in shown]
            parts.append("| " + " | ".join([escape_md(name), *shown]) + " |")
        parts.append("")
    return "\n".join([*parts, *(f"- {escape_md(note)}" for note in filled.notes)]).rstrip() + "\n"


def _csv(filled: FilledLayout) -> str:
    """A line per metric, system and column; fractions of 1 at full precision."""
    out = io.StringIO()
    fields = [
        "layout",
        "metric",
        "system",
        "column",
        "own",
        "own_row",
        "seeds",
        "published",
        "difference",
        "p",
        "p_holm",
    ]
    writer = csv.DictWriter(out, fields, lineterminator="\n")
    writer.writeheader()
    for block in filled.blocks:
        for line in block.lines:
            for column, cell in line.cells.items():
                test = cell.test
                row = {
                    "layout": filled.layout.name,
                    "metric": block.metric,
                    "system": line.system,
                    "column": column,
                    "own": None if cell.own is None else cell.own.mean,
                    "own_row": line.own,
                    "seeds": " ".join(map(str, line.seeds)),
                    "published": cell.published,
                }
                if test is not None:
                    row |= {"difference": test.difference, "p": test.p, "p_holm": test.p_holm}
                writer.writerow(row)
    return out.getvalue()


def _json(filled: FilledLayout) -> str:
    return json.dumps(layout_dict(filled), ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def layout_dict(filled: FilledLayout) -> JsonObject:
    """The table as plain JSON types; scores are fractions of 1."""
    plain = dataclasses.asdict(dataclasses.replace(filled, layout=dataclasses.replace(filled.layout, lines=())))
    layout = plain.pop("layout")
    named = {key: layout[key] for key in ("name", "title", "source", "table", "split", "reference")}
    return {"schema": 1, "layout": named, **plain}


def _latex(filled: FilledLayout) -> str:
    """A ``table*`` per metric with booktabs rules; needs ``\\usepackage{booktabs,graphicx}``."""
    parts = ["% needs \\usepackage{booktabs,graphicx}"]
    for block in filled.blocks:
        label = f"tab:{filled.layout.name}" + (f"-{block.metric}".replace("@", "") if len(filled.blocks) > 1 else "")
        notes = " ".join(note for note in filled.notes if not note.startswith("To fill"))
        parts += [
            "\\begin{table*}[t]",
            "\\centering\\small",
            "\\resizebox{\\ifdim\\width>\\textwidth\\textwidth\\else\\width\\fi}{!}{%",
            "\\begin{tabular}{ll" + "r" * len(filled.columns) + "}",
            "\\toprule",
            " & ".join(["system", "", *(escape_tex(c) for c in filled.columns)]) + " \\\\",
            "\\midrule",
        ]
        for name, who, *texts in _lines(block, filled.columns):
            shown = [signed(escape_tex(text)) for text in (who, *texts)]
            if who == PAPER:
                shown = [f"\\textit{{{text}}}" if text else "" for text in shown]
            parts.append(" & ".join([escape_tex(name), *shown]) + " \\\\")
        parts += ["\\bottomrule", "\\end{tabular}}"]
        parts += [f"\\caption{{{escape_tex(_caption(filled, block))}. {escape_tex(notes)}}}", f"\\label{{{label}}}"]
        parts += ["\\end{table*}", ""]
    return "\n".join(parts)


def _html(filled: FilledLayout) -> str:
    from mtbench.report.page import whole_page

    parts = [f"<h1>{escape(filled.layout.title)}</h1>"]
    for block in filled.blocks:
        heads = "".join(f'<th scope="col">{escape(text)}</th>' for text in ["system", "", *filled.columns])
        body = []
        for name, who, *texts in _lines(block, filled.columns):
            kind = "reported" if who == PAPER else "optimizer"
            cells = "".join(f"<td>{escape(text)}</td>" for text in (who, *texts))
            body.append(f'<tr class="{kind}"><th scope="row">{escape(name)}</th>{cells}</tr>')
        rows = "\n".join(body)
        parts.append(f'<p class="lead">{escape(_caption(filled, block))}.</p>')
        parts.append(f'<div class="scroll"><table class="scores"><thead><tr>{heads}</tr></thead>')
        parts.append(f"<tbody>{rows}</tbody></table></div>")
    parts.append("<ul class='notes'>" + "".join(f"<li>{escape(note)}</li>" for note in filled.notes) + "</ul>")
    return whole_page(f"mtbench: {filled.layout.name}", parts)
