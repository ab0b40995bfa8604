"""What a method may ask of the training loop beyond one gradient of each task at the current parameters.

Three things, each with a default under which nothing is asked: the choice of a step's batches (:meth:`Hooks.shares`),
several independent draws of each task's batch (:attr:`Hooks.draws`), and gradients at other points
(:attr:`Hooks.perturbs`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from mtbench.errors import UsageError


class GradientAt(Protocol):
    """A task's gradient and loss at another point: same batch, same dropout, parameters ``theta + offset``."""

    def __call__(self, k: int, offset: Tensor, draw: int = 0) -> tuple[Tensor, float]:
        """The gradient (d,), unscaled, averaged over ranks, and the loss of task ``k`` at ``offset`` (d,).

        ``theta`` is as it was afterwards. The gradient is valid until the next call, and it may lie in the memory of
        the one that :meth:`MultitaskOptimizer.task` was given.
        """
        ...


class Hooks:
    """The part of the contract that most methods leave alone."""

    draws: ClassVar[int] = 1
    """Independent batches of each task in a step. With more than one, ``task`` is called with draw 1 of every task,
    then draw 2 and so on, and last with draw 0, which makes the update."""
    perturbs: ClassVar[bool] = False
    """Whether the method calls :attr:`gradient_at`."""

    chooses_batches: ClassVar[bool] = False
    """Whether the method has :meth:`shares` of its own; set by that."""

    name: ClassVar[str]
    num_tasks: int
    gradient_at: GradientAt
    """Only of a method that ``perturbs``: from ``begin_step`` until the end of :meth:`second_pass`."""
    sizes: list[int] | None = None
    """How many queries of each task the step has (K,), where :meth:`shares` asked for them; else None."""
    expected: list[int]
    _draw = 0
    _by_draw: list[list[int]]
    _extra: list[Tensor]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.chooses_batches = callable(cls.shares) and cls.shares is not Hooks.shares

    def shares(self) -> Sequence[float] | None:
        """The K shares of the next step's batch, >= 0, or None for fixed sizes.

        Asked before the batch is read, on every rank: a pure function of the state. A task with share 0 is left out.
        """
        return None

    def add_draw(self, k: int, gradient: Tensor, draw: int) -> None:
        """Take task ``k``'s gradient (d,) of a ``draw`` from 1 on; copy what is needed."""
        raise NotImplementedError(f"{self.name}: draws = {self.draws} needs add_draw()")

    def second_pass(self) -> None:
        """Called by ``finish`` when all tasks have come, for gradients at points that depend on all of them."""

    def step_mass(self, shares: np.ndarray) -> float:
        """What the weights of this step's tasks sum to, by the ``shares`` (K,) of all tasks, which sum to 1.

        1 where all K tasks are expected, whether one is missing or not. Tasks that a step leaves out on purpose do not
        give their share to the others: sum q_k over the step's tasks, times K over their number.
        """
        if len(self.expected) == self.num_tasks or self.sizes is not None:
            return 1.0
        return float(shares[self.expected].sum()) * self.num_tasks / len(self.expected)

    # -- for the base class ------------------------------------------------------------------------------------------

    def _open_hooks(self, sizes: Sequence[int] | None, gradient_at: GradientAt | None) -> None:
        if sizes is not None and (len(sizes) != self.num_tasks or min(sizes) < 0 or max(sizes) < 1):
            raise UsageError(f"{self.name}: sizes must be {self.num_tasks} numbers >= 0, not all 0, got {list(sizes)}")
        if self.perturbs and gradient_at is None:
            raise UsageError(
                f"{self.name} needs gradients at perturbed points: give begin_step() or combine() gradient_at=f, with "
                "f(k, offset) -> (gradient, loss)"
            )
        self.sizes = None if sizes is None else [int(n) for n in sizes]
        self._draw, self._by_draw, self._extra = 1 % self.draws, [[] for _ in range(self.draws)], []
        if self.perturbs and gradient_at is not None:
            self.gradient_at = _Watched(gradient_at, self._extra)

    def _take_draw(self, k: int, draw: int) -> None:
        """Note that a gradient has come; UsageError for one that is out of turn."""
        last = self.draws
        if not 0 <= draw < last or (draw or last) < (self._draw or last):
            order = ", ".join(map(str, [*range(1, last), 0]))
            raise UsageError(f"{self.name}: draw {draw} of task {k} is out of turn; draws come in the order {order}")
        if draw == 0 and any(k not in tasks for tasks in self._by_draw[1:]):
            raise UsageError(
                f"{self.name} takes {last} independent draws of each task: give task({k}, gradient, loss, draw=1) and "
                "so on for all tasks, then draw 0"
            )
        self._draw = draw
        self._by_draw[draw].append(k)

    def _check_draws(self, present: Sequence[int]) -> None:
        """UsageError where a task came with some of its draws only."""
        for draw, tasks in enumerate(self._by_draw):
            if set(tasks) != set(present):
                missing = sorted(set(tasks) ^ set(present))
                raise UsageError(f"{self.name}: the draws of the tasks {missing} are not complete (draw {draw})")


class _Watched:
    """A :class:`GradientAt` that leaves a small tensor in ``probes``, finite exactly if all that it gave is."""

    def __init__(self, function: GradientAt, probes: list[Tensor]) -> None:
        self.function, self.probes = function, probes

    def __call__(self, k: int, offset: Tensor, draw: int = 0) -> tuple[Tensor, float]:
        gradient, loss = self.function(k, offset, draw)
        gradient = gradient.detach()
        self.probes.append(extremes(gradient))
        self.probes.append(torch.tensor([float(loss)], dtype=torch.float64, device=gradient.device))
        return gradient, float(loss)


def by_draw(values: Tensor, draws: int, dimensions: int) -> Tensor:
    """``values`` of all draws (draws, ...): a view of those given for all draws alike, or as they are."""
    return values.expand(draws, *values.shape) if values.dim() == dimensions else values


def extremes(values: Tensor) -> Tensor:
    """Minimum and maximum (2,), which carry NaN and infinities; of no numbers, as a rank may have, zeros."""
    return torch.stack(torch.aminmax(values)) if values.numel() else values.new_zeros(2)
