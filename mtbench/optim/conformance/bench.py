"""What the conformance checks share: an optimizer under test, gradients to try it on, ways to give a step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor

from mtbench.optim.contract import Layout, MultitaskOptimizer
from mtbench.optim.hooks import GradientAt
from mtbench.records.values import Params

TASKS, SIZE, STEPS = 4, 24, 5
CURVATURE = 0.5
"""Of every task, where a method asks for gradients at another point."""

Step = tuple[Tensor, Tensor]
"""Gradients (K, d) and losses (K,) of one step."""


class ViolationError(Exception):
    """A promise is not kept; the message is the sentence to show."""


@dataclass(frozen=True)
class Subject:
    """One optimizer class under test, used with its default hyperparameters, or those of ``cls.conformance``."""

    name: str
    cls: type[MultitaskOptimizer]
    params: Params = field(default_factory=dict)
    """Hyperparameters that a check sets beside these."""

    def using(self, **params: Any) -> Subject:
        """The same class with other hyperparameters."""
        return replace(self, params={**self.params, **params})

    def make(self) -> MultitaskOptimizer:
        """A new optimizer."""
        return self.cls(**{**self.cls.conformance, **self.params})

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
        layout: Layout | None = None,
        columns: Sequence[int] | None = None,
    ) -> MultitaskOptimizer:
        """A new optimizer, started as :func:`start` does."""
        opt = self.make()
        start(
            opt,
            num_tasks,
            size,
            dtype=dtype,
            seed=seed,
            total_steps=total_steps,
            order=order,
            layout=layout,
            columns=columns,
        )
        return opt


def start(
    opt: MultitaskOptimizer,
    num_tasks: int = TASKS,
    size: int = SIZE,
    *,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
    total_steps: int = 20,
    order: Sequence[int] | None = None,
    layout: Layout | None = None,
    columns: Sequence[int] | None = None,
) -> None:
    """Begin an episode of ``opt`` on parameters that are the same in every check, or on their ``columns``. The tasks in
    ``order`` keep their names and sizes."""
    generator = torch.Generator().manual_seed(1)
    theta = torch.randn(size, generator=generator, dtype=torch.float64).to(dtype)
    if columns is not None:
        theta = theta[list(columns)]
    ids = list(order or range(num_tasks))
    names, sizes = [f"task{k}" for k in ids], [100 * (k + 1) for k in ids]
    opt.start(theta, num_tasks, total_steps, seed=seed, task_sizes=sizes, task_names=names, layout=layout)


# -- gradients and losses ------------------------------------------------------------------------------------------


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


# -- giving a step -------------------------------------------------------------------------------------------------


def run(opt: MultitaskOptimizer, stream: Iterable[Step], curvature: float = CURVATURE) -> list[Tensor]:
    """The updates of one step after the other, as the training loop makes them.

    Each step gets copies: what a method does to its arguments shall show in the check of that, and nowhere else.
    """
    updates = []
    for gradients, losses in stream:
        more = hooks(opt, gradients, losses, curvature)
        updates.append(opt.combine(gradients.clone(), losses.clone(), **more).clone())
        after_step(opt, losses)
    return updates


def after_step(opt: MultitaskOptimizer, losses: Tensor) -> None:
    """What the loop does when the model has moved: every loss has fallen a little, the larger ones less."""
    after = [float(v) * (1 - 0.03 / (1 + abs(float(v)))) for v in losses]
    opt.after_step(after.copy)


def give(
    opt: MultitaskOptimizer,
    step: int,
    gradients: Tensor,
    losses: Tensor,
    *,
    told: bool = False,
    tasks: Sequence[int] | None = None,
    expected: Sequence[int] | None = None,
) -> tuple[Tensor, bool]:
    """One step task by task, as the training loop does it: the update, and whether the step counts.

    ``told``: the losses are known in ``begin_step``. ``tasks``: those that come, in this order. ``expected``: those
    that the step is about.
    """
    coming = list(range(len(gradients)) if tasks is None else tasks)
    about = set(range(len(gradients)) if expected is None else expected)
    known = [float(v) if k in about else math.nan for k, v in enumerate(losses)] if told else None
    opt.begin_step(step, known, tasks=expected, **hooks(opt, gradients, losses))
    for draw in draw_order(opt):
        for k in coming:
            reused = gradients[k].clone()
            opt.task(k, reused, float(losses[k]), draw)
            reused.fill_(1e6)  # the training loop overwrites its buffer
    out = torch.full_like(gradients[0], math.nan)
    return out, opt.finish(out)


def draw_order(opt: MultitaskOptimizer) -> list[int]:
    """The draws of a step as they come: 0, which makes the update, last."""
    return [*range(1, opt.draws), 0]


class Given(TypedDict, total=False):
    """What a step is given beside gradients and losses."""

    gradient_at: GradientAt


def hooks(opt: MultitaskOptimizer, gradients: Tensor, losses: Tensor, curvature: float = CURVATURE) -> Given:
    """Gradients at another point for a method that asks for them, of tasks that are all equally curved, so that neither
    the order of the tasks nor that of the coordinates matters."""
    if not opt.perturbs:
        return {}

    def gradient_at(k: int, offset: Tensor, draw: int = 0) -> tuple[Tensor, float]:
        return torch.add(gradients[k], offset, alpha=curvature), float(losses[k])

    return {"gradient_at": gradient_at}


def sums_rows(opt: MultitaskOptimizer) -> bool:
    """Whether an update is the sum of the step's gradients with the reported weights."""
    return (opt.cost != "elementwise" or opt.weighted_sum) and not opt.perturbs and opt.draws == 1


# -- comparisons ---------------------------------------------------------------------------------------------------


def weights(opt: MultitaskOptimizer) -> np.ndarray:
    """The reported weights (K,)."""
    return np.asarray(opt.report()["weights"], dtype=np.float64)


def require_equal(found: Tensor, expected: Tensor, tolerance: float, what: str, cause: str) -> None:
    """ViolationError unless two updates agree to ``tolerance`` of the larger of their largest entries (0: bit by bit).

    ``what`` names the step and what was done; ``cause`` says where such a difference usually comes from.
    """
    if same(found, expected):
        return
    if found.shape == expected.shape and tolerance > 0 and distance(found, expected) <= tolerance:
        return
    if found.shape != expected.shape:
        raise ViolationError(f"{what}: the update is {tuple(found.shape)}, expected {tuple(expected.shape)}; {cause}")
    i = int((found.double() - expected.double()).abs().nan_to_num(nan=math.inf).argmax())
    raise ViolationError(
        f"{what}: coordinate {i} of the update is {float(found[i]):.9g} instead of {float(expected[i]):.9g}; {cause}"
    )


def require_finite(opt: MultitaskOptimizer, update: Tensor, what: str, cause: str) -> None:
    """ViolationError unless update, reported weights and state are finite."""
    if not finite(update):
        raise ViolationError(f"{what}: the update is not finite (its largest entry is {_largest(update)}); {cause}")
    if not np.isfinite(weights(opt)).all():
        raise ViolationError(f"{what}: the reported weights are {weights(opt).tolist()}; {cause}")


def _largest(update: Tensor) -> float:
    return float(update.abs().max())


def same(one: Any, other: Any) -> bool:
    """Equal bit by bit, through containers; NaN equals NaN."""
    return near(one, other, 0.0)


def near(one: Any, other: Any, tolerance: float) -> bool:
    """Equal through containers, numbers up to ``tolerance`` of the largest of their array; NaN equals NaN."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        if one.dtype != other.dtype or one.shape != other.shape:
            return False
        return near(one.double().numpy(), other.double().numpy(), tolerance)
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        if one.dtype != other.dtype or one.shape != other.shape:
            return False
        if one.dtype.kind != "f" or tolerance == 0:
            return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
        scale = float(np.nanmax(np.abs(other), initial=0.0))
        return bool(np.allclose(one, other, rtol=0, atol=tolerance * scale, equal_nan=True))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(near(one[k], other[k], tolerance) for k in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(near(a, b, tolerance) for a, b in zip(one, other, strict=True))
    if isinstance(one, float) and isinstance(other, float):
        both_nan = math.isnan(one) and math.isnan(other)
        return both_nan or math.isclose(one, other, rel_tol=tolerance, abs_tol=0)
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
    """The largest difference, relative to the largest entry; infinite where one is not finite."""
    if not (finite(one) and finite(other)):
        return math.inf
    size = max(_largest(one), _largest(other)) if one.numel() else 0.0
    return float((one - other).abs().max()) / size if size > 0 else 0.0


def direction_gap(one: Tensor, other: Tensor) -> float:
    """Distance of the two unit vectors; 0 where both are zero, 1 where one of them is."""
    lengths = [float(v.abs().max()) for v in (one, other)]
    if min(lengths) == 0:
        return 0.0 if max(lengths) == 0 else 1.0
    units = [v.double() / v.abs().max() for v in (one, other)]
    return float((units[0] / units[0].norm() - units[1] / units[1].norm()).norm())
