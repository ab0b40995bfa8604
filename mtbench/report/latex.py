"""A board as LaTeX that goes into a paper: a table of scores and one of costs, each with caption and label."""

from __future__ import annotations

from collections.abc import Sequence

from mtbench.report.board import Board
from mtbench.report.cells import Column, cell, columns, why
from mtbench.report.notes import metric_title
from mtbench.report.rows import Row
from mtbench.report.statistics import Estimate, tier

Bold = set[tuple[int, str]]
"""Cells in bold: place among the measured rows, and the column's key."""


def to_latex(board: Board) -> str:
    """Two ``table*`` with booktabs rules, scores and costs apart; needs ``\\usepackage{booktabs,graphicx}``.

    In bold stand each column's maximum over the optimizers that are compared with each other, and those which the
    test of the best tier cannot tell from it.
    """
    bold = _bold(board)
    scores = [*_table(board, "scores", bold, _score_caption(board, bool(bold)), ""), *_remarks(board)]
    costs = _table(board, "costs", set(), _cost_caption(board), "-costs")
    parts = ["% needs \\usepackage{booktabs,graphicx}", *scores, "\\end{table*}", "", *costs, "\\end{table*}"]
    return "\n".join(parts) + "\n"


def _table(board: Board, part: str, bold: Bold, caption: str, suffix: str) -> list[str]:
    """The environment without its end; a table wider than the text is shrunk to it."""
    chosen = [c for c in columns(board) if c.part == part]
    measured = [_row(row, chosen, {key for place, key in bold if place == i}) for i, row in enumerate(board.measured)]
    reported = [_row(row, chosen, set()) for row in board.rows if row.kind == "reported" and part == "scores"]
    name = f"{board.suite}-{board.profile}-{board.metric}{suffix}".replace("@", "").replace("_", "-")
    return [
        "\\begin{table*}[t]",
        "\\centering\\small",
        f"\\caption{{{escape_tex(caption)}}}",
        f"\\label{{tab:{name}}}",
        "\\resizebox{\\ifdim\\width>\\textwidth\\textwidth\\else\\width\\fi}{!}{%",
        "\\begin{tabular}{l" + "r" * len(chosen) + "}",
        "\\toprule",
        " & ".join(["method", *(escape_tex(c.header) for c in chosen)]) + " \\\\",
        "\\midrule",
        *measured,
        *(["\\midrule", *reported] if reported else []),
        "\\bottomrule",
        "\\end{tabular}}",
    ]


def _row(row: Row, chosen: Sequence[Column], bold: set[str]) -> str:
    texts = [escape_tex(row.name)]
    for column in chosen:
        text = signed(escape_tex(cell(row, column).removesuffix(" •")))
        texts.append(f"\\textbf{{{text}}}" if column.key in bold else text)
    if row.kind == "reported":
        texts = [f"\\textit{{{t}}}" if t else "" for t in texts]
    return " & ".join(texts) + " \\\\"


def _bold(board: Board) -> Bold:
    """The maxima of the scores' columns, and what cannot be told from them."""
    found: Bold = set()
    compared = [(i, r) for i, r in enumerate(board.measured) if r.kind == "optimizer" and not r.variant]
    for column in columns(board):
        estimates = [(i, e) for i, row in compared if (e := _estimate(row, column)) is not None and e.mean is not None]
        if len(estimates) < 2:
            continue
        best = max(e.mean or 0.0 for _, e in estimates)
        told = tier([e.seeds for _, e in estimates])
        found |= {(i, column.key) for (i, e), t in zip(estimates, told, strict=True) if t or e.mean == best}
    return found


def _estimate(row: Row, column: Column) -> Estimate | None:
    if column.key.startswith("task:"):
        return row.tasks.get(column.key.removeprefix("task:"))
    return row.average if column.key == "average" else None


_IN_CAPTION = ("±:", "*:", "One seed")
"""How the notes begin without which the figures cannot be read; the others stand in small print under the table."""


def _score_caption(board: Board, bold: bool) -> str:
    """What the figures are, over which seeds, and what stars and bold mean."""
    rows = [r for r in board.measured if r.kind == "optimizer" and not r.variant and r.seeds_done]
    counts = sorted({len(r.seeds_done) for r in rows})
    title = metric_title(board.metric)
    parts = [f"{title[:1].upper()}{title[1:]} in percent on {board.label} (profile {board.profile})"]
    if counts:
        parts[0] += f", means over {' or '.join(map(str, counts))} seed{'s' if counts[-1] > 1 else ''}"
    parts[0] += "."
    parts += [note for note in board.notes if note.startswith(_IN_CAPTION)]
    if bold:
        told = ", and what the same test, Holm-corrected, cannot tell from it" if counts[-1] > 1 else ""
        parts.append(f"Bold: the best of a column{told}.")
    return " ".join(parts)


def _cost_caption(board: Board) -> str:
    return f"Costs of the runs on {board.label} (profile {board.profile}): means over seeds, memory the largest."


def _remarks(board: Board) -> list[str]:
    """The notes that are not in the caption, and what explains single rows, in small print under the table."""
    notes = [n for n in board.notes if not n.startswith((*_IN_CAPTION, "•"))]
    lines = [escape_tex(line) + "\\\\" for line in notes + why(board)]
    return ["", "\\smallskip", "\\raggedright\\footnotesize", *lines] if lines else []


def signed(text: str) -> str:
    """A minus sign instead of a hyphen before a number."""
    return "$-$" + text[1:] if text[:1] == "-" and text[1:2].isdigit() else text


_TEX = {
    **{c: "\\" + c for c in "&%$#_{}"},
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "±": "$\\pm$",
    "×": "$\\times$",
    "•": "$\\bullet$",
    "–": "--",
    "…": "\\ldots{}",
    "*": "$^{*}$",
    "<": "$<$",
    ">": "$>$",
    "`": "\\textasciigrave{}",
    "'": "'",
    "\n": " ",
}


def escape_tex(text: str) -> str:
    """Text that LaTeX prints as it stands here."""
    return "".join(_TEX.get(c, c) for c in text)
