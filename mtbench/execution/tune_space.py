"""The settings that tuning tries: one sequence of learning rates for all methods, times each method's own ranges."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from mtbench.execution.grid import Point
from mtbench.hyperparameters import Hyperparameter, hyperparameters
from mtbench.registry import get_optimizer
from mtbench.train_config import TrainConfig

WIDEST = 4.0
"""Learning rates are tried from the profile's divided by this to the profile's times this."""


def rate_factors(trials: int) -> list[float]:
    """What the learning rates of the trials are multiplied by: 1, then log-uniform draws, whatever the method.

    The first n are the same for every ``trials`` >= n, so that more trials later compute only what is new.
    """
    source = random.Random("rates")
    drawn = [math.exp(source.uniform(-math.log(WIDEST), math.log(WIDEST))) for _ in range(trials - 1)]
    return [1.0, *drawn]


def trial_points(optimizer: str, trials: int, train: TrainConfig, tasks: Sequence[str]) -> list[Point]:
    """What each trial of a method sets, as ``--set`` reads it; the first sets nothing: it is the default.

    ``train``: the settings that rates are multiples of. ``tasks``: of numbers per task.
    """
    searched = [h for h in hyperparameters(get_optimizer(optimizer)).values() if h.search is not None]
    source = random.Random(optimizer)
    points: list[Point] = [{}]
    for factor in rate_factors(trials)[1:]:
        rates = {"train.lr": train.lr, "train.warmup_lr": train.warmup_lr}
        point = {key: f"{rate * factor:.4g}" for key, rate in rates.items() if rate is not None}
        points.append(point | {f"{optimizer}.{h.name}": _draw(h, source, tasks) for h in searched})
    return points


def _draw(declared: Hyperparameter, source: random.Random, tasks: Sequence[str]) -> str:
    """One value of a declared search range, as ``--set`` reads it."""
    search = declared.search
    if search == "dirichlet":
        shares = [source.gammavariate(1.0, 1.0) for _ in tasks]
        scale = len(tasks) / sum(shares)
        return ",".join(f"{task}:{share * scale:.4g}" for task, share in zip(tasks, shares, strict=True))
    if isinstance(search, list):
        value = source.choice(search)
        return str(value).lower() if isinstance(value, bool) else str(value)
    if not isinstance(search, tuple):
        raise TypeError(f"{declared.name}: nothing to draw from: {search!r}")
    low, high, scale_name = search
    drawn = source.uniform(math.log(low), math.log(high)) if scale_name == "log" else source.uniform(low, high)
    value = math.exp(drawn) if scale_name == "log" else drawn
    return str(round(value)) if declared.kind is int else f"{value:.4g}"
