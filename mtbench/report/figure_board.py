"""Figures of a leaderboard: gains as a heat map, cost against quality."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mtbench.errors import UsageError
from mtbench.report.cells import caption, gain
from mtbench.report.figures import PALETTE, label_points, new_figure, styled
from mtbench.report.leaderboard import Board
from mtbench.report.notes import metric_title

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def gain_figure(board: Board) -> Figure:
    """Gain over the baseline by optimizer and task in points; a star as in the table."""
    rows = [r for r in board.rows if r.kind == "optimizer" and not r.variant and r.gain and r.task_gains]
    if not rows:
        raise UsageError(f"no optimizer beside the baseline {board.baseline} has finished runs: nothing to compare")
    tasks = list(board.tasks)
    tests = [[*(r.task_gains[t] for t in tasks), r.gain] for r in rows]
    values = np.array(
        [[np.nan if t is None or t.difference is None else 100 * t.difference for t in line] for line in tests]
    )
    limit = float(np.nanmax(np.abs(values))) or 1.0
    figure = new_figure(1.9 + 0.62 * len(tasks) + 0.9, 1.5 + 0.28 * len(rows))
    with styled():
        axes = figure.add_subplot()
        image = axes.imshow(values, cmap="PuOr", vmin=-limit, vmax=limit, aspect="auto")
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        axes.set_xticks(range(len(tasks) + 1), [*tasks, "average"], rotation=35, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(rows)), [r.label for r in rows])
        axes.axvline(len(tasks) - 0.5, color="white", lw=4)
        for i, line in enumerate(tests):
            for j, test in enumerate(line):
                dark = abs(values[i, j]) > 0.62 * limit
                axes.text(j, i, gain(test), ha="center", va="center", fontsize=7.5, color="white" if dark else "black")
        figure.colorbar(image, ax=axes, label="points", pad=0.02)
        between = "\n" if len(tasks) < 5 else " "  # a narrow figure
        axes.set_title(f"Gain over {board.baseline}{between}({caption(board)})", fontsize=9, loc="left")
        note = f"* p < .05: paired t-test over seeds,{between}Holm-corrected"
        figure.supxlabel(note, fontsize=7.5, x=0.02, ha="left")
    return figure


def cost_figure(board: Board) -> Figure:
    """Average against time per step relative to the baseline, with 95 % intervals over seeds."""
    rows = [r for r in board.rows if r.kind == "optimizer" and not r.variant and r.average.mean is not None]
    relative = any(r.costs.get("step_ratio") is not None for r in rows)
    key = "step_ratio" if relative else "step_ms"
    rows = [r for r in rows if r.costs.get(key) is not None]
    if not rows:
        raise UsageError("no finished run has a time per step")
    figure = new_figure(6.2, max(4.0, 1.0 + 0.16 * len(rows)))  # room for the column of names
    with styled():
        axes = figure.add_subplot()
        x = [float(r.costs[key] or 0) for r in rows]
        y = [100 * (r.average.mean or 0) for r in rows]
        half = [100 * (r.average.high - r.average.mean) if r.average.high and r.average.mean else 0.0 for r in rows]
        axes.errorbar(x, y, yerr=half, fmt="none", ecolor="#9aa6b2", elinewidth=1, capsize=2)
        best = [PALETTE[2] if r.best_tier else PALETTE[0] for r in rows]
        axes.scatter(x, y, s=26, c=best, zorder=3)
        axes.margins(0.14, 0.1)
        axes.set_xlabel(f"time per step, multiples of {board.baseline}" if relative else "time per step in ms")
        axes.set_ylabel(f"average {metric_title(board.metric)} in percent")
        title = f"{board.label}, profile {board.profile}"
        if any(r.best_tier for r in rows):
            title += "; green: not distinguishable from the best"
        axes.set_title(title, loc="left")
        label_points(axes, list(zip(x, y, strict=True)), [r.label for r in rows])
    return figure
