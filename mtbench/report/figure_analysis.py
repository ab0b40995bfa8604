"""The papers' figures of parameters: task entropy (Figures 1 and 3a), sensitivity by task (Figure 2), commitment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mtbench.errors import UsageError
from mtbench.records.curves import Analysis, Entropy
from mtbench.report.analyses import Analysed, analysed, span_text, title_of
from mtbench.report.board import Board
from mtbench.report.figures import SCREEN, LineStyle, Sheet, legend_below, line_styles, styled, title_above
from mtbench.report.rows import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]
Styles = Mapping[str, LineStyle]
DRAWN_FROM = 1e-2
"""Share of a line's peak under which its tails do not widen the axis."""


def entropy_figure(
    board: Board, optimizer: str | None, rows: Sequence[Row] | None = None, sheet: Sheet = SCREEN
) -> Figure:
    """Parameters by kind (unused, not activated, task specific), and the entropy over tasks of all others."""
    runs = analysed(board, optimizer, rows)
    styles = line_styles(run.name for run in runs)
    figure = sheet.figure(7.2, (3.4 if sheet.narrow else 3.1) + _legend_height(runs, sheet))
    with styled():
        named, others = figure.subplots(2, 1) if sheet.narrow else figure.subplots(1, 2, width_ratios=[1, 1.25])
        _bars(named, runs, styles, sheet)
        for run in runs:
            part = run.analysis["entropy"]
            style = styles[run.name]
            shares = _percent(part["counts"], part)
            others.stairs(shares, part["bins"], color=style["color"], ls=style["linestyle"], lw=1.2, label=run.name)
        others.set(xlabel="entropy over tasks, nats", ylabel="parameters,\n% per bin", ylim=(0, None))
        others.set_xlim(runs[0].analysis["entropy"]["bins"][0], runs[0].analysis["entropy"]["bins"][-1])
        title_above(figure, title_of(board, runs))
        legend_below(figure, others, 5, _entropy_note(runs))
    return figure


def _bars(axes: Axes, runs: Sequence[Analysed], styles: Styles, sheet: Sheet) -> None:
    """The three named bins, a bar for each run with its height over it."""
    width = 0.84 / len(runs)
    for index, run in enumerate(runs):
        part = run.analysis["entropy"]
        heights = _percent([part["unused"], part["not_activated"], part["task_specific"]], part)
        places = np.arange(3) + (index - (len(runs) - 1) / 2) * width
        axes.bar(places, heights, width, color=styles[run.name]["color"], edgecolor="white", lw=0.3)
        for x, height in zip(places, heights, strict=True):
            axes.annotate(
                f"{height:.0f}" if len(runs) > 3 and height >= 10 else f"{height:.1f}",
                (x, height),
                (0, 2),
                textcoords="offset points",
                ha="center",
                fontsize=6 if len(runs) > 2 else sheet.small,
                rotation=90 if sheet.narrow and len(runs) > 4 else 0,
            )
    axes.set_xticks(range(3), ["Unused", "Not Activated", "Task Specific"], fontsize=8)
    axes.grid(visible=False, axis="x")
    axes.margins(y=0.2 if sheet.narrow else 0.12)
    axes.set_ylabel("parameters, %")


def _percent(counts: Sequence[int], part: Entropy) -> Floats:
    return 100 * np.array(counts, dtype=np.float64) / max(1, part["parameters"])


def _entropy_note(runs: Sequence[Analysed]) -> str:
    """What the bins mean, for each way in which the runs were analysed."""
    told = []
    for run in runs:
        part = run.analysis["entropy"]
        limits = part["thresholds"]
        over = "shares" if part["tau"] is None else f"softmax of I/{part['tau']:g}"
        told.append(
            f"{over}; task specific: below {limits['task_specific']:g} nats; not activated: below "
            f"{limits['not_activated']:g} medians; unused: sensitivity 0 for every task"
        )
    if len(set(told)) == 1:
        return told[0]
    return "\n".join(f"{run.name}: {text}" for run, text in zip(runs, told, strict=True))


def _legend_height(runs: Sequence[Analysed], sheet: Sheet) -> float:
    """Room in inches for a legend of all rows."""
    long = max(len(run.name) for run in runs) > 16
    columns = (1 if long else 2) if sheet.narrow else (3 if long else 5)
    return 0.18 * -(-len(runs) // columns)


def sensitivity_figure(
    board: Board, optimizer: str | None, rows: Sequence[Row] | None = None, sheet: Sheet = SCREEN
) -> Figure:
    """Density of the raw sensitivities, a panel per task, with all rows on one logarithmic axis."""
    runs = analysed(board, optimizer, rows)
    styles = line_styles(run.name for run in runs)
    tasks = list(dict.fromkeys(task for run in runs for task in run.analysis["sensitivity"]["tasks"]))
    columns = min(len(tasks), 2 if sheet.narrow else 4)
    lines = -(-len(tasks) // columns)
    figure = sheet.figure(
        1.9 * columns + 0.3, (0.95 if sheet.narrow else 1.5) * lines + 0.9 + _legend_height(runs, sheet)
    )
    with styled():
        grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
        for axes, task in zip(grid.flat, tasks, strict=False):
            for run in runs:
                if task in run.analysis["sensitivity"]["tasks"]:
                    middles, density = _density(run.analysis, task)
                    axes.plot(middles, density, label=run.name, **{**styles[run.name], "marker": ""}, lw=1.1)
            axes.set_title(task, loc="left", fontsize=8, pad=2)
        span = _drawn_span(runs)
        grid.flat[0].set_xlim(span)
        grid.flat[0].set_ylim(0, None)
        for axes in list(grid.flat)[len(tasks) :]:
            axes.set_visible(False)
        for axes in list(grid.flat)[len(tasks) - columns : len(tasks)]:  # the last of each column
            axes.xaxis.set_tick_params(labelbottom=True)
            axes.set_xlabel("log10 |θ·g|, raw", fontsize=8)
        for axes in grid[:, 0]:
            axes.set_ylabel("density", fontsize=8)
        title_above(figure, title_of(board, runs))
        legend_below(figure, grid[0, 0], 5, _sensitivity_note(runs, span))
    return figure


def _density(analysis: Analysis, task: str) -> tuple[Floats, Floats]:
    """Middles of the bins and the density over all of a task's sensitivities that are not 0, outliers included."""
    part = analysis["sensitivity"]
    edges, counts = np.array(part["bins"]), np.array(part["counts"][task], dtype=np.float64)
    total = max(1.0, counts.sum() + part["outliers"][task])
    return (edges[:-1] + edges[1:]) / 2, counts / total / np.diff(edges)


def _drawn_span(runs: Sequence[Analysed]) -> tuple[float, float]:
    """The part of the axis on which any line is more than the tail of its peak."""
    places: list[float] = []
    for run in runs:
        for task in run.analysis["sensitivity"]["tasks"]:
            middles, density = _density(run.analysis, task)
            places += middles[density > DRAWN_FROM * density.max(initial=0.0)].tolist()
    return (min(places), max(places)) if places else (0.0, 1.0)


def _sensitivity_note(runs: Sequence[Analysed], span: tuple[float, float]) -> str:
    """What the lines leave out: zeros, and what lies outside of the axis."""
    zeros, outside = [], []
    for run in runs:
        for task, zero in run.analysis["medians"]["zeros_by_task"].items():
            total = run.analysis["entropy"]["parameters"]
            zeros.append(100 * zero / max(1, total))
            middles, density = _density(run.analysis, task)
            drawn = (middles > span[0] - 1e-9) & (middles < span[1] + 1e-9)
            widths = np.diff(run.analysis["sensitivity"]["bins"])
            outside.append(100 * (1 - float((density * widths)[drawn].sum())) if total > zero else 0.0)
    return (
        f"Not drawn: zeros ({span_text(zeros)} % of the parameters of a task) and outliers "
        f"({span_text(outside, 2)} % of the others)"
    )


def commitment_figure(
    board: Board, optimizer: str | None, rows: Sequence[Row] | None = None, sheet: Sheet = SCREEN
) -> Figure:
    """By step of the last episode: parameters that keep their task, and those that one task has taken over."""
    known = analysed(board, optimizer, rows)
    runs = [run for run in known if run.analysis["commitment"]["steps"]]
    if not runs:
        names = ", ".join(run.name for run in known)
        raise UsageError(
            f"no commitment was logged while {names} trained: only methods that average sensitivities (tsage) have one,"
            " and stages of versions before the rate was logged have none.\n"
            f"  mtbench run --optimizer tsage --suite {board.suite} --profile {board.profile} --until analyze"
        )
    styles = line_styles(run.name for run in known)  # a row's colour is that of the other figures
    figure = sheet.figure(7.2, (3.3 if sheet.narrow else 2.8) + _legend_height(runs, sheet))
    with styled():
        shape = (2, 1) if sheet.narrow else (1, 2)
        keep, taken = figure.subplots(*shape, sharex=True).flat
        for run in runs:
            part, style = run.analysis["commitment"], {**styles[run.name], "marker": ""}
            keep.plot(part["steps"], 100 * np.array(part["rate"]), label=run.name, **style)
            taken.plot(part["committed_steps"], 100 * np.array(part["committed_share"]), **style)
        keep.set(ylabel="commitment\nrate, %", ylim=(0, 100))
        taken.set(xlabel="step of the last episode", ylabel="parameters with\na U > .95, %", ylim=(0, None))
        keep.set_xlabel("" if sheet.narrow else "step of the last episode")
        title_above(figure, title_of(board, runs))
        legend_below(figure, keep, 5, "Commitment rate: parameters with the same task as at the logged step before")
    return figure
