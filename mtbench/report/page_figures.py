"""Inline SVG of the HTML page: bars with intervals by task, and cost against quality."""

from __future__ import annotations

import math
from html import escape

from mtbench.report.board import Board
from mtbench.report.cells import percent, seeds_text
from mtbench.report.rows import Row

_LETTER = 6.3
"""Width of a character of the page's 11 px font; used to reserve room for labels."""


def task_bars(board: Board, task: str) -> str:
    """One bar per measured row with its 95 % interval over seeds, best first; axis from 0 to 100 %."""
    rows = [r for r in board.measured if r.tasks[task].mean is not None]
    rows.sort(key=lambda r: -(r.tasks[task].mean or 0.0))
    if not rows:
        return "<p>no finished run</p>"
    shown = [(_shorten(r.name, 24), r) for r in rows]
    left = 8 + _LETTER * max(len(name) for name, _ in shown)
    width, row_height, bottom = left + 230, 18, 22
    height = len(rows) * row_height + bottom
    scale = (width - left - 48) / 100
    parts = [f'<svg viewBox="0 0 {width:.0f} {height}" role="img" aria-label="{escape(board.tasks[task])}">']
    for tick in (0, 50, 100):
        x = left + tick * scale
        parts.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height - bottom}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{height - 7}" text-anchor="middle">{tick}</text>')
    for index, (name, row) in enumerate(shown):
        parts.append(_bar(row, name, task, left, index * row_height, scale))
    return "".join([*parts, "</svg>"])


def _bar(row: Row, name: str, task: str, left: float, top: float, scale: float) -> str:
    estimate = row.tasks[task]
    mean = 100 * (estimate.mean or 0.0)
    middle = top + 9
    parts = [
        f'<g data-tip="{escape(row.name)}\n{escape(seeds_text(estimate))}">',
        f'<rect x="0" y="{top}" width="{left + 100 * scale + 48:.1f}" height="18" fill="transparent"/>',
        f'<text x="{left - 6:.1f}" y="{middle + 4}" text-anchor="end">{escape(name)}</text>',
        f'<rect class="{row.kind}" x="{left:.1f}" y="{top + 3}" width="{mean * scale:.1f}" height="12" rx="1"/>',
    ]
    end = left + mean * scale
    if estimate.low is not None and estimate.high is not None:
        low, high = (left + 100 * scale * min(1.0, max(0.0, v)) for v in (estimate.low, estimate.high))
        end = max(end, high)
        parts.append(f'<line class="whisker" x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}"/>')
        for x in (low, high):
            parts.append(f'<line class="whisker" x1="{x:.1f}" x2="{x:.1f}" y1="{middle - 3}" y2="{middle + 3}"/>')
    parts.append(f'<text class="tick" x="{end + 5:.1f}" y="{middle + 4}">{percent(mean / 100)}</text></g>')
    return "".join(parts)


def scatter(board: Board, width: int) -> str:
    """Average against time per step relative to the baseline (else in ms); empty if fewer than two rows have both."""
    relative = any(r.costs.get("step_ratio") is not None for r in board.measured)
    key = "step_ratio" if relative else "step_ms"
    rows = [r for r in board.measured if r.kind == "optimizer" and r.costs.get(key) and r.average.mean is not None]
    if len(rows) < 2:
        return ""
    title = f"time per step, multiples of {board.baseline}" if relative else "time per step in ms"
    points = [(float(r.costs[key] or 0), 100 * (r.average.mean or 0), r) for r in rows]
    height = 360
    left, right, top, bottom = 46, 14, 22, 40
    xs, ys = _ticks([p[0] for p in points]), _ticks([p[1] for p in points])
    place_x = _scale(xs, left, width - right)
    place_y = _scale(ys, height - bottom, top)
    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="cost against quality">']
    parts += _grid(xs, ys, place_x, place_y, (left, width - right, top, height - bottom))
    parts.append(
        f'<text class="tick" x="{(left + width - right) / 2}" y="{height - 6}" text-anchor="middle">{title}</text>'
    )
    parts.append(f'<text class="tick" x="{left - 30}" y="12">average in percent</text>')
    spots = [(place_x(x), place_y(y), r) for x, y, r in points]
    parts += _labelled_points(spots, (left, width - right, top, height - bottom))
    return "".join([*parts, "</svg>"])


Box = tuple[float, float, float, float]


def _labelled_points(spots: list[tuple[float, float, Row]], area: Box) -> list[str]:
    """Points with their names; a name that would cover another moves around its point, or is left to the hover."""
    taken: list[Box] = [(x - 5, y - 5, x + 5, y + 5) for x, y, _ in spots]
    parts = []
    for x, y, row in spots:
        tip = f"{row.name}\n{seeds_text(row.average)}"
        parts.append(
            f'<circle class="{row.kind}" cx="{x:.1f}" cy="{y:.1f}" r="4.5" data-tip="{escape(tip)}" tabindex="0"/>'
        )
        name = _shorten(row.name, 24)
        size = _LETTER * len(name)
        for dx, dy in (
            (8, 4),
            (-8 - size, 4),
            (-size / 2, -9),
            (-size / 2, 17),
            (8, -8),
            (8, 15),
            (-8 - size, -8),
            (-8 - size, 15),
        ):
            box = (x + dx, y + dy - 10, x + dx + size, y + dy + 2)
            inside = area[0] <= box[0] and box[2] <= area[1] + 10 and area[2] <= box[1] and box[3] <= area[3]
            if inside and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                parts.append(f'<text x="{x + dx:.1f}" y="{y + dy:.1f}">{escape(name)}</text>')
                break
    return parts


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _grid(xs: list[float], ys: list[float], place_x: Scale, place_y: Scale, area: Box) -> list[str]:
    left, right, top, bottom = area
    parts = []
    for x in xs:
        parts.append(f'<line class="axis" x1="{place_x(x):.1f}" x2="{place_x(x):.1f}" y1="{top}" y2="{bottom}"/>')
        parts.append(f'<text class="tick" x="{place_x(x):.1f}" y="{bottom + 15}" text-anchor="middle">{x:g}</text>')
    for y in ys:
        parts.append(f'<line class="axis" x1="{left}" x2="{right}" y1="{place_y(y):.1f}" y2="{place_y(y):.1f}"/>')
        parts.append(f'<text class="tick" x="{left - 6}" y="{place_y(y) + 4:.1f}" text-anchor="end">{y:g}</text>')
    return parts


class Scale:
    """A linear map from the span of some ticks to pixels."""

    def __init__(self, low: float, high: float, start: float, stop: float) -> None:
        self.low, self.start = low, start
        self.factor = (stop - start) / (high - low)

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) * self.factor


def _scale(ticks: list[float], start: float, stop: float) -> Scale:
    return Scale(ticks[0], ticks[-1], start, stop)


def _ticks(values: list[float]) -> list[float]:
    """Four to eight round numbers that span the values."""
    low, high = min(values), max(values)
    span = (high - low) or max(abs(high), 1.0) * 0.2
    low, high = low - 0.06 * span, high + 0.06 * span
    raw = (high - low) / 5
    power = 10 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(i * step, 10) for i in range(first, last + 1)]


def _shorten(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
