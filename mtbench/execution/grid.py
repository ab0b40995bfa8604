"""The settings a sweep tries: ``--grid KEY=V1,V2`` as axes, their product or their lines, and random draws.

An axis is a list of values (``tau=0.5,1,2``) or, for samplers, a range (``tau=0.1:10`` uniform,
``train.lr=1e-6:1e-3:log`` uniform in the logarithm). Values with a number per task are separated by ``;``
(``static.weights=nq:2,fever:0.5;nq:1``).
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from mtbench.config import Config
from mtbench.errors import UsageError

Point = dict[str, str]
"""One value per swept key, as the user would write it after ``--set``."""

MAX_REJECTED = 1000
"""Draws in a row that were there before, after which the axes are exhausted."""


@dataclass(frozen=True)
class Axis:
    """One swept key: its ``values``, or the range from ``low`` to ``high``."""

    key: str
    values: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False

    @property
    def is_range(self) -> bool:
        """Whether values are drawn and not listed."""
        return not self.values

    def draw(self, source: random.Random) -> str:
        """One value; four significant digits are enough for a hyperparameter and make short names."""
        if self.values:
            return source.choice(self.values)
        if self.log:
            return f"{math.exp(source.uniform(math.log(self.low), math.log(self.high))):.4g}"
        return f"{source.uniform(self.low, self.high):.4g}"


def parse_axes(items: Sequence[str], per_task: Collection[str] = ()) -> list[Axis]:
    """Axes from ``--grid`` items. UsageError for what is no ``KEY=VALUES``, and for a key that is named twice.

    ``per_task``: the keys whose values hold a number per task, as ``nq:2,fever:0.5``; these are separated by ``;``.
    """
    axes = [_parse_axis(item, per_task) for item in items]
    keys = [axis.key for axis in axes]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice:
        raise UsageError(f"--grid names {twice!r} twice; write all its values in one: {twice}=V1,V2,...")
    for key in keys:
        owner, dot, field = key.rpartition(".")
        if dot and owner not in Config.model_fields and field in keys:
            raise UsageError(f"--grid names {key!r} and {field!r}, which sets it too; write OPTIMIZER.{field} for each")
    return axes


def _parse_axis(item: str, per_task: Collection[str]) -> Axis:
    key, equals, text = item.partition("=")
    key, text = key.strip(), text.strip()
    if not equals or not key or not text:
        raise UsageError(f"--grid {item!r}: expected KEY=V1,V2,... such as tau=0.5,1,2 or train.lr=1e-3,5e-3")
    parts = text.split(":")
    if key in per_task:
        values = _split(text, ";")
    elif len(parts) in (2, 3) and "," not in text:
        return _parse_range(item, key, parts)
    else:
        values = _split(text, ",")
    if not values:
        raise UsageError(f"--grid {item!r} names no value")
    if len(set(values)) != len(values):
        raise UsageError(f"--grid {item!r} names a value twice")
    return Axis(key, tuple(values))


def _parse_range(item: str, key: str, parts: list[str]) -> Axis:
    try:
        low, high = float(parts[0]), float(parts[1])
    except ValueError:
        raise UsageError(f"--grid {item!r}: a range is LOW:HIGH or LOW:HIGH:log") from None
    log = len(parts) == 3
    if (log and parts[2] != "log") or not -math.inf < low < high < math.inf or (log and low <= 0):
        raise UsageError(f"--grid {item!r}: a range is LOW:HIGH or LOW:HIGH:log, with LOW < HIGH (above 0 for log)")
    return Axis(key, (), low, high, log)


def _split(text: str, separator: str) -> list[str]:
    """At separators outside brackets: ``[0.9, 0.99]`` is one value."""
    values, depth, current = [], 0, ""
    for letter in text:
        depth += (letter in "[{") - (letter in "]}")
        if letter == separator and depth == 0:
            values.append(current.strip())
            current = ""
        else:
            current += letter
    return [value for value in [*values, current.strip()] if value]


def grid_points(axes: Sequence[Axis], lines: bool) -> list[Point]:
    """The product of the axes; with ``lines`` one key at a time, the others at their defaults."""
    if not axes:
        raise UsageError("a sweep needs at least one --grid KEY=V1,V2,...")
    for axis in axes:
        if axis.is_range:
            raise UsageError(f"--grid {axis.key}: a range needs --trials N, which draws from it; or list its values")
    if lines:
        return [{axis.key: value} for axis in axes for value in axis.values]
    return [
        dict(zip([a.key for a in axes], values, strict=True)) for values in itertools.product(*(a.values for a in axes))
    ]


def random_points(axes: Sequence[Axis], trials: int, seed: int = 0) -> list[Point]:
    """``trials`` distinct random points, fewer if the axes have no more. The first n are the same for every
    ``trials`` >= n, so that more trials later compute only what is new."""
    if not axes:
        raise UsageError("--trials needs at least one --grid KEY=VALUES or KEY=LOW:HIGH to draw from")
    source, rejected = random.Random(seed), 0
    points: list[Point] = []
    while len(points) < trials and rejected < MAX_REJECTED:
        point = {axis.key: axis.draw(source) for axis in axes}
        rejected = rejected + 1 if point in points else 0
        if not rejected:
            points.append(point)
    return points
