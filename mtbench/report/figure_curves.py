"""Learning curves: quality by episode and loss by step for all optimizers, or everything about one of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mtbench.errors import UsageError
from mtbench.records.curves import CurveName, EpisodeCurves
from mtbench.records.record import RunRecord
from mtbench.report.board import Board
from mtbench.report.figure_board import compared
from mtbench.report.figures import SCREEN, LineStyle, Sheet, legend_below, line_style, line_styles, styled, title_above
from mtbench.report.notes import metric_title
from mtbench.report.rows import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Series = tuple[list[float], list[float]]


def overview_figure(board: Board, rows: Sequence[Row] | None = None, sheet: Sheet = SCREEN) -> Figure:
    """By row: average by episode (of up to six also the range over seeds), mean loss of the last episode."""
    rows = [r for r in (compared(board) if rows is None else rows) if r.seeds_done]
    if not any(r.runs[s].get("history") for r in rows for s in r.seeds_done):
        raise UsageError("no finished run has a history of its episodes")
    figure = sheet.figure(7.4, 5.2 if sheet.narrow else 3.9)
    styles = line_styles(row.label for row in rows)
    with styled():
        upper, lower = figure.subplots(2, 1) if sheet.narrow else figure.subplots(1, 2)
        for row in rows:
            style = styles[row.label]
            _episodes(upper, row, style, band=len(rows) <= 6)
            _last_losses(lower, row, {**style, "marker": ""})
        upper.set(xlabel="episode", ylabel=f"average {metric_title(board.metric)}\nin percent")
        upper.xaxis.get_major_locator().set_params(integer=True)
        lower.set(xlabel="step of the last episode", ylabel="loss, mean over\ntasks and seeds")
        title_above(figure, f"{board.label}, profile {board.profile}")
        legend_below(figure, upper, 5)
    return figure


def _episodes(axes: Axes, row: Row, style: LineStyle, band: bool) -> None:
    by_episode: dict[int, list[float]] = defaultdict(list)
    for seed in row.seeds_done:
        for entry in row.runs[seed].get("history", []):
            if entry["average"] is not None:
                by_episode[entry["episode"]].append(100 * entry["average"])
    episodes = sorted(by_episode)
    if not episodes:
        return
    axes.plot(episodes, [np.mean(by_episode[e]) for e in episodes], label=row.label, markersize=4, **style)
    if band and max(len(v) for v in by_episode.values()) > 1:
        low, high = ([pick(by_episode[e]) for e in episodes] for pick in (min, max))
        axes.fill_between(episodes, low, high, color=style["color"], alpha=0.1, lw=0)


def _last_losses(axes: Axes, row: Row, style: LineStyle) -> None:
    curves: dict[float, list[float]] = defaultdict(list)
    for seed in row.seeds_done:
        episodes = _training(row.runs[seed])
        if episodes:
            for losses in episodes[-1]["losses"].values():
                for step, value in zip(episodes[-1]["steps"], losses, strict=True):
                    if value is not None:
                        curves[step].append(value)
    steps = sorted(curves)
    if steps:
        axes.plot(steps, [np.mean(curves[s]) for s in steps], **style)


def optimizer_figure(row: Row, seed: int | None = None, sheet: Sheet = SCREEN) -> Figure:
    """Losses, weights, gradient norms by task and the rate of conflicts of one run, over all its steps."""
    seeds = [seed] if seed is not None else row.seeds_done[:1]
    record = row.runs.get(seeds[0]) if seeds else None
    if record is None or not _training(record):
        raise UsageError(f"{row.name} has no finished run{'' if seed is None else f' with seed {seed}'} with curves")
    episodes = _training(record)
    figure = sheet.figure(7.4, 8.0 if sheet.narrow else 5.2)
    panels: tuple[tuple[CurveName, str, bool], ...] = (
        ("losses", "loss", False),
        ("weights", "task weight", False),
        ("gradient_norms", "gradient norm", True),
    )
    with styled():
        grid = figure.subplots(4 if sheet.narrow else 2, 1 if sheet.narrow else 2, sharex=True, squeeze=False)
        starts = _starts(episodes)
        for axes, (key, label, log) in zip(grid.flat, panels, strict=False):
            for index, (task, (steps, values)) in enumerate(_by_task(episodes, starts, key).items()):
                axes.plot(steps, values, label=task, lw=1.0, **{**line_style(index), "marker": ""})
            axes.set_ylabel(label)
            if key == "weights":
                axes.set_ylim(0, 1.05 * axes.get_ylim()[1])
            if log and axes.lines:
                axes.set_yscale("log")
        _conflicts(grid.flat[-1], episodes, starts)
        for axes in grid.flat:
            for start in starts[1:]:
                axes.axvline(start, color="#aaaaaa", lw=0.8, ls=":")
        for axes in grid[-1]:
            axes.set_xlabel("step (dotted: a new episode)")
        title_above(figure, f"{row.name}, seed {seeds[0]}")
        legend_below(figure, grid[0, 0], 8)
    return figure


def _training(record: RunRecord) -> list[EpisodeCurves]:
    return [e for e in record["training"]["episodes"] if e["steps"]] if "training" in record else []


def _starts(episodes: list[EpisodeCurves]) -> list[float]:
    starts, at = [], 0.0
    for episode in episodes:
        starts.append(at)
        at += episode["steps"][-1] + 1
    return starts


def _by_task(episodes: list[EpisodeCurves], starts: list[float], key: CurveName) -> dict[str, Series]:
    found: dict[str, Series] = {}
    for start, episode in zip(starts, episodes, strict=True):
        for task, values in episode[key].items():
            steps, series = found.setdefault(task, ([], []))
            steps.extend(start + s for s in episode["steps"])
            series.extend(np.nan if v is None else v for v in values)
    return found


def _conflicts(axes: Axes, episodes: list[EpisodeCurves], starts: list[float]) -> None:
    steps: list[float] = []
    rates: list[float] = []
    for start, episode in zip(starts, episodes, strict=True):
        measured = episode.get("conflict_rate", [])
        at = episode.get("conflict_steps", episode["steps"])
        steps += [start + s for s in at[: len(measured)]]
        rates += [np.nan if r is None else 100 * r for r in measured[: len(at)]]
    axes.set_ylabel("task pairs in\nconflict, percent")
    axes.set_ylim(0, 100)
    if rates:
        axes.plot(steps, rates, color="#444444")
    else:
        axes.text(0.5, 0.5, "not recorded", transform=axes.transAxes, ha="center", color="#777777")
