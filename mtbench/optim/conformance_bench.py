"""What the conformance checks share: an optimizer under test, gradients to try it on, comparisons."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mtbench.optim.contract import MultitaskOptimizer

TASKS, SIZE, STEPS = 4, 24, 5

Step = tuple[Tensor, Tensor]
"""Gradients (K, d) and losses (K,) of one step."""


class ViolationError(Exception):
    """A promise is not kept; the message is the sentence to show."""


@dataclass(frozen=True)
class Subject:
    """One optimizer class under test, used with its default hyperparameters, or those of ``cls.conformance``."""

    name: str
    cls: type[MultitaskOptimizer]

    def start(
        self,
        num_tasks: int = TASKS,
        size: int = SIZE,
        *,
        dtype: torch.dtype = torch.float64,
        seed: int = 0,
        total_steps: int = 20,
        sizes: Sequence[int] | None = None,
        order: Sequence[int] | None = None,
    ) -> MultitaskOptimizer:
        """A new optimizer, started."""
        return started(
            self.make(), num_tasks, size, dtype=dtype, seed=seed, total_steps=total_steps, sizes=sizes, order=order
        )

    def make(self) -> MultitaskOptimizer:
        """A new optimizer."""
        return self.cls(**self.cls.conformance)


def started(
    opt: MultitaskOptimizer,
    num_tasks: int = TASKS,
    size: int = SIZE,
    *,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
    total_steps: int = 20,
    sizes: Sequence[int] | None = None,
    order: Sequence[int] | None = None,
) -> MultitaskOptimizer:
    """``opt``, started on parameters that are the same in every check; the tasks in ``order`` keep their names."""
    generator = torch.Generator().manual_seed(1)
    theta = torch.randn(size, generator=generator, dtype=torch.float64).to(dtype)
    sizes = sizes or [100 * (k + 1) for k in range(num_tasks)]
    names = [f"task{k}" for k in (order or range(num_tasks))]
    opt.start(theta, num_tasks, total_steps, seed=seed, task_sizes=sizes, task_names=names)
    return opt


def conflicting_steps(
    num_tasks: int = TASKS, size: int = SIZE, steps: int = STEPS, *, seed: int = 0, dtype: torch.dtype = torch.float64
) -> list[Step]:
    """Gradients that partly oppose each other, of different lengths, and losses that fall at different speeds.

    The numbers are float32's in every dtype, so that two precisions see the same gradients.
    """
    rng = np.random.default_rng([seed, num_tasks, size])
    lengths = np.linspace(0.5, 2.0, num_tasks)[:, None]
    stream = []
    for t in range(steps):
        shared = rng.normal(size=size)
        signs = np.where(np.arange(num_tasks) % 2 == 0, 1.0, -0.6)[:, None]
        rows = lengths * (0.6 * signs * shared + rng.normal(size=(num_tasks, size)))
        losses = (1.0 + np.arange(num_tasks)) * 0.97 ** (t * (1 + np.arange(num_tasks))) + 0.05 * rng.random(num_tasks)
        stream.append((to_tensor(rows, dtype), to_tensor(losses, dtype)))
    return stream


def to_tensor(values: np.ndarray, dtype: torch.dtype) -> Tensor:
    """Rounded to float32, then in ``dtype``."""
    return torch.from_numpy(values.astype(np.float32)).to(dtype)


def run(opt: MultitaskOptimizer, stream: Iterable[Step]) -> list[Tensor]:
    """The updates of one step after the other, as the training loop makes them.

    Each step gets copies: what a method does to its arguments shall show in the check of that, and nowhere else.
    """
    updates = []
    for gradients, losses in stream:
        updates.append(opt.combine(gradients.clone(), losses.clone()).clone())
        after = [float(v) * 0.98 for v in losses]
        opt.after_step(after.copy)
    return updates


def weights(opt: MultitaskOptimizer) -> np.ndarray:
    """The reported weights (K,)."""
    return np.asarray(opt.report()["weights"], dtype=np.float64)


def same(one: Any, other: Any) -> bool:
    """Equal bit by bit, through containers; NaN equals NaN."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.dtype == other.dtype and one.shape == other.shape and one.equal(other)
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one) and math.isnan(other):
        return True
    return bool(one == other)


def finite(value: Any) -> bool:
    """Whether all numbers in a state are finite."""
    if isinstance(value, Tensor):
        return bool(torch.isfinite(value).all())
    if isinstance(value, np.ndarray):
        return value.dtype.kind not in "fc" or bool(np.isfinite(value).all())
    if isinstance(value, dict):
        return all(finite(v) for v in value.values())
    if isinstance(value, (list, tuple)):
        return all(finite(v) for v in value)
    return not isinstance(value, float) or math.isfinite(value)


def distance(one: Tensor, other: Tensor) -> float:
    """The largest difference, relative to the largest entry."""
    size = max(float(one.abs().max()), float(other.abs().max()))
    return float((one - other).abs().max()) / size if size > 0 else 0.0


def direction_gap(one: Tensor, other: Tensor) -> float:
    """Distance of the two unit vectors; 0 where both are zero, 1 where one of them is."""
    lengths = [float(v.abs().max()) for v in (one, other)]
    if min(lengths) == 0:
        return 0.0 if max(lengths) == 0 else 1.0
    units = [v.double() / v.abs().max() for v in (one, other)]
    return float((units[0] / units[0].norm() - units[1] / units[1].norm()).norm())
