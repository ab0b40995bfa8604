"""Figures of a leaderboard: gains as a heat map, cost against quality."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mtbench.errors import UsageError
from mtbench.report.board import Board
from mtbench.report.cells import caption
from mtbench.report.figures import PALETTE, SCREEN, Sheet, label_points, points, styled, title_above
from mtbench.report.notes import metric_title
from mtbench.report.rows import Row
from mtbench.report.statistics import Difference

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CLIPPED = 0.9
"""Share of the gains that the colours tell apart: beyond the largest of these a cell has the last colour."""


def compared(board: Board) -> list[Row]:
    """The rows that figures show where none are named: optimizers of the board's own configuration."""
    return [r for r in board.rows if r.kind == "optimizer" and not r.variant]


def gain_figure(board: Board, rows: Sequence[Row] | None = None, sheet: Sheet = SCREEN) -> Figure:
    """Gain over the baseline by optimizer and task in points; a star as in the table.

    One outlier would leave all other cells white: colours end at the 90th percentile of the gains, the numbers do not.
    """
    rows = [r for r in (compared(board) if rows is None else rows) if r.gain and r.task_gains]
    if not rows:
        raise UsageError(f"no row beside the baseline {board.baseline} has finished runs: nothing to compare")
    tasks = list(board.tasks)
    tests = [[*(r.task_gains[t] for t in tasks), r.gain or Difference(None)] for r in rows]
    values = np.array([[np.nan if t.difference is None else 100 * t.difference for t in line] for line in tests])
    sizes = np.abs(values[np.isfinite(values)])
    limit = float(np.quantile(sizes, CLIPPED)) if sizes.size else 0.0
    limit = limit or float(sizes.max(initial=0.0)) or 1.0
    figure = sheet.figure(1.9 + 0.62 * len(tasks) + 0.9, (1.1 if sheet.narrow else 1.5) + 0.28 * len(rows))
    with styled():
        axes = figure.add_subplot()
        image = axes.imshow(values, cmap="PuOr", vmin=-limit, vmax=limit, aspect="auto")
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        names = [*tasks, "average"]
        axes.set_xticks(
            range(len(names)), names, rotation=45 if sheet.narrow else 35, ha="right", rotation_mode="anchor"
        )
        axes.set_yticks(range(len(rows)), [r.label for r in rows])
        axes.axvline(len(tasks) - 0.5, color="white", lw=4)
        if sheet.narrow:
            axes.tick_params(labelsize=6.5)
        for (i, j), value in np.ndenumerate(values):
            text = _gain_text(tests[i][j], 2 if not sheet.narrow else 1 if abs(value) < 9.95 else 0)
            colour = "white" if abs(value) > 0.62 * limit else "black"
            axes.text(j, i, text, ha="center", va="center", fontsize=sheet.small, color=colour)
        if not sheet.narrow:  # there the numbers in the cells are enough
            beyond = "both" if (sizes > limit).any() else "neither"
            figure.colorbar(image, ax=axes, pad=0.02, extend=beyond, label="points")
        title_above(figure, f"Gain over {board.baseline} ({caption(board)})")
        between = "\n" if len(tasks) < 5 or sheet.narrow else " "
        note = f"* p < .05: paired t-test over seeds,{between}Holm-corrected"
        figure.supxlabel(note, fontsize=6.5 if sheet.narrow else 7.5, x=0.02, ha="left")
    return figure


def _gain_text(test: Difference, decimals: int) -> str:
    if test.difference is None:
        return ""
    return points(100 * test.difference, decimals) + ("*" if test.star else "")


def cost_figure(board: Board, rows: Sequence[Row] | None = None, sheet: Sheet = SCREEN) -> Figure:
    """Quality against time per step relative to the baseline.

    Quality is the gain over the baseline with the 95 % interval of the paired differences, which is what tells two
    rows apart; where there is no baseline, the average with its own interval over seeds.
    """
    rows = [r for r in (compared(board) if rows is None else rows) if r.average.mean is not None]
    relative = any(r.costs.get("step_ratio") is not None for r in rows)
    key = "step_ratio" if relative else "step_ms"
    rows = [r for r in rows if r.costs.get(key) is not None]
    if not rows:
        raise UsageError("no finished run has a time per step")
    figure = sheet.figure(6.2, max(3.0 if sheet.narrow else 4.0, 1.0 + 0.16 * len(rows)))  # a column of names
    paired = any(r.gain is not None for r in rows)
    with styled():
        axes = figure.add_subplot()
        x = [float(r.costs[key] or 0) for r in rows]
        y, low, high = (100 * np.array(part) for part in zip(*(_quality(r, paired) for r in rows), strict=True))
        axes.errorbar(x, y, yerr=[y - low, high - y], fmt="none", ecolor="#9aa6b2", elinewidth=1, capsize=2)
        best = [PALETTE[2] if r.best_tier else PALETTE[0] for r in rows]
        axes.scatter(x, y, s=26, c=best, zorder=3)
        if paired:
            axes.axhline(0, color="#666666", lw=0.8, zorder=1)
        axes.margins(0.14, 0.1)
        axes.set_xlabel(f"time per step, multiples of {board.baseline}" if relative else "time per step in ms")
        _quality_axis(axes, board, paired, sheet)
        title = f"{board.label}, profile {board.profile}"
        if any(r.best_tier for r in rows):
            title += "; green: not distinguishable from the best"
        title_above(figure, title)
        label_points(axes, list(zip(x, y.tolist(), strict=True)), [r.label for r in rows], sheet.small + 0.5)
    return figure


def _quality(row: Row, paired: bool) -> tuple[float, float, float]:
    """Value, lower and upper end, fractions of 1; the ends are the value where there is no interval."""
    if not paired:
        found: tuple[float | None, float | None, float | None] = (row.average.mean, row.average.low, row.average.high)
    elif row.gain is None:  # the baseline itself
        found = (0.0, 0.0, 0.0)
    else:
        found = (row.gain.difference, row.gain.low, row.gain.high)
    value = np.nan if found[0] is None else found[0]
    return value, value if found[1] is None else found[1], value if found[2] is None else found[2]


def _quality_axis(axes: Axes, board: Board, paired: bool, sheet: Sheet) -> None:
    between = "\n" if sheet.narrow else " "
    if paired:
        axes.set_ylabel(f"gain over {board.baseline} in points of{between}average {metric_title(board.metric)}")
    else:
        axes.set_ylabel(f"average {metric_title(board.metric)}{between}in percent")
