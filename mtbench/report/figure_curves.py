"""Learning curves: quality by episode and loss by step for all optimizers, or everything about one of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mtbench.errors import UsageError
from mtbench.records.curves import CurveName, EpisodeCurves, Validation
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
    """Losses, weights, gradient norms by task and the rate of conflicts of one run, over all its steps; where the model
    was looked at while it was trained (``train.evaluate_every``), also what each look found."""
    seeds = [seed] if seed is not None else row.seeds_done[:1]
    record = row.runs.get(seeds[0]) if seeds else None
    if record is None or not _training(record):
        raise UsageError(f"{row.name} has no finished run{'' if seed is None else f' with seed {seed}'} with curves")
    episodes = _training(record)
    looked = any(map(_validation, episodes))
    count, columns = (6 if looked else 4), (1 if sheet.narrow else 2)
    figure = sheet.figure(7.4, 2.0 * count if sheet.narrow else 1.3 * count)
    panels: tuple[tuple[CurveName, str, bool], ...] = (
        ("losses", "loss", False),
        ("weights", "task weight", False),
        ("gradient_norms", "gradient norm", True),
    )
    with styled():
        grid = figure.subplots(count // columns, columns, sharex=True, squeeze=False)
        starts = _starts(episodes)
        for axes, (key, label, log) in zip(grid.flat, panels, strict=False):
            for index, (task, (steps, values)) in enumerate(_by_task(episodes, starts, key).items()):
                axes.plot(steps, values, label=task, lw=1.0, **{**line_style(index), "marker": ""})
            axes.set_ylabel(label)
            if key == "weights":
                axes.set_ylim(0, 1.05 * axes.get_ylim()[1])
            if log and axes.lines:
                axes.set_yscale("log")
        _conflicts(grid.flat[3], episodes, starts)
        if looked:
            _looks(grid.flat[4], grid.flat[5], episodes, starts)
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


def _validation(episode: EpisodeCurves) -> Validation | None:
    """What was found while training; None where nobody looked, and in old records without a summary."""
    return episode["summary"].get("validation") if "summary" in episode else None


def _looks(by_task: Axes, mean: Axes, episodes: list[EpisodeCurves], starts: list[float]) -> None:
    """Mean reciprocal ranks on the slice of train, by task and over the tasks; a star: what was kept."""
    tasks = list(episodes[-1]["losses"])
    for start, episode in zip(starts, episodes, strict=True):
        curve = _validation(episode)
        if curve is None:
            continue
        steps = [start + step - 1 for step in curve["steps"]]  # a step is logged by its number from 0, looked at after
        for task, values in curve["mrr"].items():
            percent = [np.nan if v is None else 100 * v for v in values]
            style = line_style(tasks.index(task))
            by_task.plot(steps, percent, lw=1.0, color=style["color"], linestyle=style["linestyle"])
        percent = [100 * value for value in curve["mean"]]
        mean.plot(steps, percent, color="#444444")
        if curve["kept"] is not None:
            place = curve["steps"].index(curve["kept"])
            mean.plot(steps[place], percent[place], color="#444444", marker="*", markersize=9)
    by_task.set_ylabel("reciprocal rank,\nslice of train")
    mean.set_ylabel("its mean over tasks\n(star: kept)")


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
