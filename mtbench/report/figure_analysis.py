"""The paper's analysis of parameters: sensitivity by task (Figure 2), task entropy (Figures 1 and 3a), commitment."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from mtbench.errors import UsageError
from mtbench.records.curves import Analysis, Entropy, Sensitivity
from mtbench.report.figures import PALETTE, SCREEN, Sheet, legend_below, line_style, line_styles, styled, title_above
from mtbench.report.leaderboard import Board
from mtbench.report.rows import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


Part = Literal["sensitivity", "entropy"]


def analysed(
    board: Board, optimizer: str | None, part: Part, rows: Sequence[Row] | None = None
) -> list[tuple[Row, int, Analysis]]:
    """Rows with an analysis, the seed it is of, and its ``part``; UsageError saying how to make one."""
    found = []
    for row in board.rows if rows is None else rows:
        if row.kind != "optimizer" or (optimizer and row.optimizer != optimizer):
            continue
        for seed, record in sorted(row.runs.items()):
            if "analysis" in record and record["analysis"].get(part):
                found.append((row, seed, record["analysis"]))
                break
    if not found:
        name = optimizer or "naive,tsage"
        raise UsageError(
            f"no run{f' of {optimizer!r}' if optimizer else ''} on {board.label} has the analysis {part!r}.\n"
            f"  Make it from the checkpoints: mtbench run --optimizer {name} --suite {board.suite}"
            f" --profile {board.profile} --until analyze"
        )
    return found


def sensitivity_figure(
    board: Board, optimizer: str | None, rows: Sequence[Row] | None = None, sheet: Sheet = SCREEN
) -> Figure:
    """Density of the task-specific sensitivity by task, a panel per optimizer."""
    runs = analysed(board, optimizer, "sensitivity", rows)
    columns = 1 if sheet.narrow else min(2, len(runs))
    lines = -(-len(runs) // columns)
    figure = sheet.figure(3.7 * columns + 0.3, 2.7 * lines + 0.7)
    with styled():
        grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
        for axes, (row, seed, analysis) in zip(grid.flat, runs, strict=False):
            part = analysis["sensitivity"]
            for index, task in enumerate(part["tasks"]):
                density = part["density"][task]
                axes.plot(
                    _centres(part["bins"], len(density)), density, label=task, **{**line_style(index), "marker": ""}
                )
            axes.set_title(f"{row.name}, seed {seed}", loc="left", fontsize=9)
            axes.set_xlabel(_unit(part))
            axes.xaxis.set_tick_params(labelbottom=True)
        for axes in list(grid.flat)[len(runs) :]:
            axes.set_visible(False)
        for axes in grid[:, 0]:
            axes.set_ylabel("density")
        legend_below(figure, grid[0, 0], 4 * columns)
    return figure


def entropy_figure(
    board: Board, optimizer: str | None, rows: Sequence[Row] | None = None, sheet: Sheet = SCREEN
) -> Figure:
    """Histogram of the parameters' task entropy with the bins Not Activated and Task Specific; commitment below."""
    runs = analysed(board, optimizer, "entropy", rows)
    committed = [(row, a["commitment"]) for row, _, a in runs if "commitment" in a and a["commitment"]["steps"]]
    figure = sheet.figure(7.2, 3.4 + (2.4 if committed else 0))
    with styled():
        panels = figure.subplots(2 if committed else 1, 1, squeeze=False, height_ratios=[3, 2] if committed else [1])[
            :, 0
        ]
        _histogram(panels[0], [(row, analysis["entropy"]) for row, _, analysis in runs])
        if committed:
            styles = line_styles(row.name for row, _, _ in runs)
            for row, part in committed:
                rates = [100 * r for r in part["rate"]]
                panels[1].plot(part["steps"], rates, label=row.name, **{**styles[row.name], "marker": ""})
            panels[1].set(xlabel="step", ylabel="committed to one\ntask, percent", ylim=(0, None))
        seeds = ", ".join(f"{row.name} (seed {seed})" for row, seed, _ in runs[:3]) + (" …" if len(runs) > 3 else "")
        title_above(figure, f"{board.label}, profile {board.profile}: {seeds}")
        if len(runs) > 1:
            legend_below(figure, panels[0], 5)
    return figure


def _histogram(axes: Axes, parts: Sequence[tuple[Row, Entropy]]) -> None:
    width = 0.8 / len(parts)
    labels: list[str] = []
    skipped = min(int(np.argmax(np.array(part["counts"]) > 0)) for _, part in parts)  # empty below Task Specific
    for index, (row, part) in enumerate(parts):
        counts = np.array([part["not_activated"], part["task_specific"], *part["counts"][skipped:]], dtype=float)
        shares = 100 * counts / max(counts.sum(), 1.0)
        places = _places(len(counts)) + (index - (len(parts) - 1) / 2) * width
        axes.bar(places, shares, width, label=row.name, color=PALETTE[index % len(PALETTE)], edgecolor="white", lw=0.3)
        if not labels:
            spans = _spans(part["bins"], len(part["counts"]))[skipped:]
            labels = ["Not\nActivated", "Task\nSpecific", *spans]
    axes.axvline(3.4, color="#aaaaaa", lw=0.8, ls=":")
    every = max(1, -(-(len(labels) - 2) // 10))
    keep = [0, 1, *range(2, len(labels), every)]
    axes.set_xticks(_places(len(labels))[keep], [labels[i] for i in keep], fontsize=7.5)
    axes.grid(visible=False, axis="x")
    axes.set(xlabel="entropy over tasks in nats" + _limits(parts[0][1]), ylabel="parameters, percent")


def _unit(part: Sensitivity) -> str:
    """The axis of the sensitivities, with the unit that the analysis names."""
    return str(part.get("unit") or "task-specific sensitivity").replace("theta * g", "θ·g")


def _limits(part: Entropy) -> str:
    """Where the two named bins begin, as far as the analysis says."""
    limits, texts = part.get("thresholds", {}), []
    if "task_specific" in limits:
        texts.append(f"Task Specific: below {limits['task_specific']} nats")
    if "not_activated" in limits:
        texts.append(f"Not Activated: below {limits['not_activated']} medians")
    return "\n" + "; ".join(texts) if texts else ""


def _places(count: int) -> NDArray[np.float64]:
    """Where the bars stand: the two bins that are no entropies apart from the others, with room for their names."""
    return np.array([0.0, 2.4, *np.arange(count - 2) + 4.4])


def _centres(bins: Sequence[float], count: int) -> list[float]:
    """Places of ``count`` values, whether ``bins`` are their edges or their centres."""
    if len(bins) == count:
        return list(bins)
    return [(a + b) / 2 for a, b in itertools.pairwise(bins)]


def _spans(bins: Sequence[float], count: int) -> list[str]:
    return [f"{c:.2f}" for c in _centres(bins, count)]
