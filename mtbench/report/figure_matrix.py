"""Figure of the cross matrix: what a retriever trained on one task does on the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mtbench.errors import UsageError
from mtbench.report.board import Board
from mtbench.report.cells import caption
from mtbench.report.figures import SCREEN, Sheet, styled, title_above
from mtbench.report.matrix import Matrix, matrices

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def matrix_figure(board: Board, row: str | None = None, sheet: Sheet = SCREEN) -> Figure:
    """Scores in percent, trained on (lines) by task (columns); colours are differences to the column's own retriever.

    ``row``: which row ``per-task`` of the board; None: the first. UsageError where there is none.
    """
    matrix = _chosen(matrices(board), row)
    trained, tasks = list(matrix.cells), matrix.tasks
    scores = np.array([[_percent(matrix, t, u) for u in tasks] for t in trained])
    own = np.array([_percent(matrix, u, u) if u in matrix.cells else np.nan for u in tasks])
    differences = scores - own[None, :]
    finite = np.abs(differences[np.isfinite(differences)])
    limit = float(finite.max(initial=0.0)) or 1.0
    figure = sheet.figure(2.2 + 0.66 * len(tasks), 1.6 + 0.34 * len(trained))
    with styled():
        axes = figure.add_subplot()
        image = axes.imshow(differences, cmap="PuOr", vmin=-limit, vmax=limit, aspect="auto")
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        axes.set_xticks(range(len(tasks)), tasks, rotation=35, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(trained)), trained)
        axes.set_ylabel("trained on")
        axes.set_xlabel("scored on")
        for (i, j), value in np.ndenumerate(scores):
            if not np.isfinite(value):
                continue
            dark = abs(np.nan_to_num(differences[i, j])) > 0.62 * limit
            bold = "bold" if trained[i] == tasks[j] else "normal"
            colour = "white" if dark else "black"
            axes.text(
                j, i, f"{value:.1f}", ha="center", va="center", fontsize=sheet.small, color=colour, fontweight=bold
            )
        bar = figure.colorbar(image, ax=axes, pad=0.02)
        bar.set_label("points to the diagonal", fontsize=sheet.small)
        bar.ax.tick_params(labelsize=sheet.small)
        title_above(figure, f"{matrix.row}: trained on one task ({caption(board)})")
    return figure


def _chosen(found: list[Matrix], row: str | None) -> Matrix:
    if row is None:
        return found[0]
    for matrix in found:
        if matrix.row == row:
            return matrix
    raise UsageError(f"--rows {row!r}: the rows with a matrix are\n    " + "\n    ".join(m.row for m in found))


def _percent(matrix: Matrix, trained: str, task: str) -> float:
    mean = matrix.cells[trained][task][0].mean
    return float("nan") if mean is None else 100 * mean
