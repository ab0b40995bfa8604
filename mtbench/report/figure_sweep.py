"""Sweeps: how one optimizer's hyperparameters change its result, chosen on a slice of train."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mtbench.errors import UsageError
from mtbench.records.record import RunRecord, analysis_of, optimizer_params
from mtbench.records.values import Params
from mtbench.report.board import Board
from mtbench.report.figure_board import compared
from mtbench.report.figures import PALETTE, SCREEN, Sheet, styled, title_above
from mtbench.report.rows import Row
from mtbench.report.settings import default_params, describe_params, show_value

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SPECIFIC = "task-specific\nparameters, percent"
Setting = tuple[Params, list[float]]
"""All hyperparameters of a row, and its value for each seed, in percent."""


def sweep_figure(board: Board, optimizer: str, rows: Sequence[Row] | None = None, sheet: Sheet = SCREEN) -> Figure:
    """A panel per hyperparameter that varies alone, and with analyses one of the share of task-specific parameters
    (the papers' Figure 3b); a heat map for each pair that varies together."""
    rows = [r for r in (compared(board) if rows is None else rows) if r.optimizer == optimizer and r.seeds_done]
    defaults = default_params([optimizer])[optimizer]
    settings, label = _settings(rows, defaults)
    varied = _varied(settings)
    if not varied:
        raise UsageError(
            f"the runs of {optimizer!r} on {board.label} have one setting only.\n"
            f"  Make a sweep: mtbench sweep --optimizer {optimizer} --suite {board.suite} --grid KEY=VALUE,VALUE"
        )
    centre = _centre(settings, varied, defaults)
    through = {p: _through(settings, p, varied, centre) for p in varied}
    lines = [(p, _line(settings, p, varied, through[p])) for p in varied]
    lines = [(p, line) for p, line in lines if len(line) > 1]
    pairs = [(a, b) for i, a in enumerate(varied) for b in varied[i + 1 :] if _is_grid(settings, a, b, varied, centre)]
    if not lines and not pairs:
        raise UsageError(f"the settings of {optimizer!r} share no line and no grid: vary one hyperparameter at a time")
    scored = [(name, line, label) for name, line in lines]
    specific = [(p, _line(_task_specific(rows, defaults), p, varied, through[p]), SPECIFIC) for p in varied]
    scored += [curve for curve in specific if len(curve[1]) > 1]
    scored.sort(key=lambda curve: varied.index(curve[0]))  # the two panels of a hyperparameter side by side
    panels = len(scored) + len(pairs)
    paired = len(scored) > len(lines)
    columns = 1 if sheet.narrow else panels if sheet.width is None else min(panels, 2 if paired else 3)
    lines_of_panels = -(-panels // columns)
    height = (2.2 if sheet.narrow else 2.9) * lines_of_panels + 0.4
    figure = sheet.figure(3.4 * panels + 0.4, height)
    with styled():
        axes = list(figure.subplots(lines_of_panels, columns, squeeze=False).flat)
        for panel in axes[panels:]:
            panel.set_visible(False)
        for panel, (name, line, what) in zip(axes, scored, strict=False):
            _draw_line(panel, name, line, centre, what)
            elsewhere = describe_params({p: v for p, v in through[name].items() if p != name and v != centre[p]})
            panel.set_xlabel(f"{name}{f' at {elsewhere}' if elsewhere else ''}")
            if what == SPECIFIC:
                panel.set_ylim(0, 1.08 * max(max(values) for _, values in line) or 1)  # small shares differ little
        for panel, (a, b) in zip(axes[len(scored) : panels], pairs, strict=True):
            _draw_grid(figure, panel, a, b, _grid(settings, a, b, varied, centre), label)
        title_above(figure, f"{optimizer} on {board.label}, profile {board.profile} (ring: default; grey: seeds)")
    return figure


def _settings(rows: list[Row], defaults: Params) -> tuple[list[Setting], str]:
    """Each row's setting and values: those of the slice of train where every run has them, else of dev."""
    chosen = all(_selection(r.runs[s]) is not None for r in rows for s in r.seeds_done)
    settings = []
    for row in rows:
        params = {**defaults, **optimizer_params(next(iter(row.runs.values()))["spec"])}
        if chosen:
            values = [100 * (_selection(row.runs[s]) or 0.0) for s in row.seeds_done]
        else:
            values = [100 * v for v in row.average.seeds.values()]
        settings.append((params, values))
    return settings, "average on the\nslice of train, percent" if chosen else "average on dev,\npercent"


def _task_specific(rows: list[Row], defaults: Params) -> list[Setting]:
    """The setting of each row that has an analysis, and its share of task-specific parameters for each seed."""
    found = []
    for row in rows:
        analyses = [a for seed in row.seeds_done if (a := analysis_of(row.runs[seed])) is not None]
        if analyses:
            params = {**defaults, **optimizer_params(next(iter(row.runs.values()))["spec"])}
            parts = [a["entropy"] for a in analyses]
            found.append((params, [100 * p["task_specific"] / max(1, p["parameters"]) for p in parts]))
    return found


def _selection(record: RunRecord) -> float | None:
    """The average on the slice of train."""
    return record["selection"].get("average") if "selection" in record else None


def _varied(settings: list[Setting]) -> list[str]:
    values: dict[str, set[str]] = defaultdict(set)
    for params, _ in settings:
        for name, value in params.items():
            values[name].add(repr(value))
    return sorted(name for name, seen in values.items() if len(seen) > 1)


def _centre(settings: list[Setting], varied: list[str], defaults: Params) -> Params:
    """The setting that lines go through: the defaults where a run has them, else the one most runs share."""
    if all(p in defaults for p in varied) and any(all(s[p] == defaults[p] for p in varied) for s, _ in settings):
        return {p: defaults[p] for p in varied}
    shared = {p: max((s[p] for s, _ in settings), key=[s[p] for s, _ in settings].count) for p in varied}
    return shared


def _through(settings: list[Setting], name: str, varied: list[str], centre: Params) -> Params:
    """The setting that the line of ``name`` goes through: the centre, or where only one run lies on that line, the
    setting on whose line most runs lie."""
    places = [centre, *({p: s[p] for p in varied} for s, _ in settings)]
    lengths = [len(_line(settings, name, varied, place)) for place in places]
    return centre if lengths[0] > 1 else places[lengths.index(max(lengths))]


def _line(settings: list[Setting], name: str, varied: list[str], centre: Params) -> list[tuple[Any, list[float]]]:
    others = [p for p in varied if p != name]
    found = [(s[name], v) for s, v in settings if all(s.get(p) == centre[p] for p in others)]
    return sorted(found, key=lambda item: (isinstance(item[0], str), item[0]))


def _is_grid(settings: list[Setting], a: str, b: str, varied: list[str], centre: Params) -> bool:
    """Whether some runs have both ``a`` and ``b`` away from the centre, all else being at it."""
    others = [p for p in varied if p not in (a, b)]
    return any(s[a] != centre[a] and s[b] != centre[b] and all(s[p] == centre[p] for p in others) for s, _ in settings)


def _grid(settings: list[Setting], a: str, b: str, varied: list[str], centre: Params) -> dict[tuple[Any, Any], float]:
    """Mean over seeds by the values of ``a`` and ``b``, all else being at the centre."""
    others = [p for p in varied if p not in (a, b)]
    return {(s[a], s[b]): float(np.mean(v)) for s, v in settings if all(s[p] == centre[p] for p in others)}


def _draw_line(axes: Axes, name: str, line: list[tuple[Any, list[float]]], centre: Params, label: str) -> None:
    values = [v for v, _ in line]
    numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    logarithmic = numeric and min(values) > 0 and max(values) / min(values) >= 8
    x: list[float] = [float(v) for v in values] if logarithmic else list(range(len(values)))
    means = [float(np.mean(v)) for _, v in line]
    for at, (_, seeds) in zip(x, line, strict=True):
        axes.scatter([at] * len(seeds), seeds, s=9, color="#9aa6b2", zorder=2)
    axes.plot(x, means, marker="o", markersize=5, color=PALETTE[0], zorder=3)
    for at, mean, value in zip(x, means, values, strict=True):
        if value == centre[name]:
            axes.plot([at], [mean], marker="o", markersize=9, mfc="none", mec=PALETTE[1], mew=1.6, zorder=4)
    if logarithmic:
        axes.set_xscale("log", base=2)
    axes.set_xticks(x, [show_value(v) for v in values])
    axes.minorticks_off()
    axes.set_ylabel(label)


def _draw_grid(figure: Figure, axes: Axes, a: str, b: str, points: dict[tuple[Any, Any], float], label: str) -> None:
    xs, ys = sorted({x for x, _ in points}), sorted({y for _, y in points})
    table = np.array([[points.get((x, y), np.nan) for x in xs] for y in ys])
    image = axes.imshow(table, cmap="cividis", origin="lower", aspect="auto")
    axes.grid(visible=False)
    middle = (np.nanmin(table) + np.nanmax(table)) / 2
    for i, j in np.ndindex(table.shape):
        text = "–" if np.isnan(table[i, j]) else f"{table[i, j]:.1f}"
        axes.text(j, i, text, ha="center", va="center", fontsize=8, color="white" if table[i, j] < middle else "black")
    axes.set_xticks(range(len(xs)), [show_value(x) for x in xs])
    axes.set_yticks(range(len(ys)), [show_value(y) for y in ys])
    axes.set(xlabel=a, ylabel=b)
    figure.colorbar(image, ax=axes, label=label)
