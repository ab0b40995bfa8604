"""The cheapest and the most general way to write a multitask optimizer: weights from the losses, and everything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from mtbench.optim.contract import Cost, MultitaskOptimizer
from mtbench.optim.hooks import extremes
from mtbench.optim.rows import RowKeeping


class LossWeighting(MultitaskOptimizer):
    """Weights from the losses. Override :meth:`weights_from_losses`, or :meth:`weights_before` if the weights are
    known before the step (then :meth:`observe` sees the losses afterwards).

    Where the weights are known in time, which the training loop sees to, no gradient row is kept: each task's
    gradient is added to one accumulator of d numbers as it arrives. A task that is missing by accident gives its
    weight to the others; one that is left out on purpose (``begin_step(tasks=...)``) does not: weights known before
    are then multiplied by K over the number of the step's tasks, so that over all choices of them the mean stays.
    """

    cost: ClassVar[Cost] = "losses"
    shardable = True
    weighted_sum = True

    def weights_from_losses(self, losses: np.ndarray) -> np.ndarray | Sequence[float]:
        """Weights (n,) in mean form (they sum to 1 if nothing is rescaled) for the losses (n,) of the present tasks.

        ``self.tasks`` names the tasks that are present: all K of them, but for a step that misses one. The losses are
        finite.
        """
        raise NotImplementedError

    def observe(self, losses: np.ndarray) -> None:
        """Update the state from the losses (n,) of the present tasks; called once for each step that counts."""

    @property
    def needs_losses(self) -> bool:
        """Whether all losses must be known before the first gradient, to keep no rows: unless a method knows its
        weights before. Declared by overriding one or the other, not found out by asking for weights, which may draw.
        """
        return type(self).weights_before is MultitaskOptimizer.weights_before

    def open_step(self, losses: Sequence[float] | None) -> None:
        before = self.weights_before()
        self._weights = None if before is None else self.scaled(np.asarray(before, dtype=np.float64)).tolist()
        chosen = self._weights is None or self.sizes is not None  # by the method itself, for this step
        self._share = 1.0 if chosen else self.num_tasks / len(self.expected)
        if self._weights is None and losses is not None:
            self._weights = self._weights_in_advance(np.asarray(losses, dtype=np.float64))
        self._rows: dict[int, Tensor] = {}
        self._sum: Tensor | None = None

    def _weights_in_advance(self, losses: np.ndarray) -> list[float]:
        """The weights (K,) from the losses (K,) that are finite; a task without such a loss has weight 0, and the
        step does not count if it comes all the same."""
        self.tasks = [k for k in self.expected if np.isfinite(losses[k])]
        weights = np.zeros(self.num_tasks)
        if self.tasks:
            weights[self.tasks] = self.weights_from_losses(losses[self.tasks])
        found: list[float] = self.scaled(weights).tolist()
        return found

    def watch(self, gradient: Tensor) -> Tensor | None:
        """A sum of gradients is not finite where one of them is not, whatever its weight: one look at the end."""
        return super().watch(gradient) if self._weights is None else None

    def probes(self) -> list[Tensor]:
        return super().probes() if self._sum is None else [extremes(self._sum)]

    def add_task(self, k: int, gradient: Tensor) -> None:
        if self._weights is None:
            self._rows[k] = gradient.clone()
        else:
            self.accumulate(gradient, self._weights[k])

    def accumulate(self, gradient: Tensor, weight: float) -> None:
        """Add ``weight * gradient`` to the one accumulator, whose memory is kept from step to step."""
        if self._sum is not None:
            self._sum.add_(gradient, alpha=weight)
            return
        memory = getattr(self, "_memory", None)
        if memory is None or memory.shape != gradient.shape or memory.dtype != gradient.dtype:
            memory = torch.empty_like(gradient)
        self._memory: Tensor | None = memory.to(gradient.device)
        self._sum = torch.mul(gradient, weight, out=self._memory)

    def write_update(self, out: Tensor) -> None:
        self.tasks = sorted(self.present)
        losses = np.asarray([self.losses[k] for k in self.tasks])
        if self._weights is None:
            weights = self.scaled(np.asarray(self.weights_from_losses(losses), dtype=np.float64))
            out.zero_()
            for k, w in zip(self.tasks, weights, strict=True):
                out.add_(self._rows[k], alpha=float(w))
        else:
            weights = np.asarray([self._weights[k] for k in self.tasks])
            assert self._sum is not None, "a step that counts has at least one task"
            out.copy_(self._sum)
            factor = self._share
            if len(self.tasks) < len(self.expected) and weights.sum() > 0:
                # a missing task leaves the rest in mean form: their shares are taken up by the others
                factor *= sum(self._weights[k] for k in self.expected) / weights.sum()
            if factor != 1.0:
                out.mul_(factor)
                weights = weights * factor
        self.set_report(weights)
        self.observe(losses)
        self.discard_step()

    def discard_step(self) -> None:
        self._rows, self._sum = {}, None


class GradientCombining(RowKeeping):
    """Full freedom. Override :meth:`combine_gradients`."""

    cost: ClassVar[Cost] = "elementwise"

    def combine_gradients(self, gradients: Tensor, losses: np.ndarray) -> Tensor:
        """The mean-form update (d,) from ``gradients`` (n, d), which must not be changed, and ``losses`` (n,).

        Call ``self.set_report(weights)`` with the n effective weights, if the method has any. A method that works on
        any slice of the coordinates says ``shardable = True`` and takes sums over them by ``self.reduce_sum``.
        """
        raise NotImplementedError

    def write_update(self, out: Tensor) -> None:
        rows = self.present_rows()
        self.set_report([1.0 / len(self.tasks)] * len(self.tasks))
        out.copy_(self.combine_gradients(rows, self.present_losses()))
        if self.scale == "unit":
            weights = np.asarray([self._report["weights"][k] for k in self.tasks])
            if weights.any():
                out.div_(float(weights.sum()))
            self.set_report(self.scaled(weights), **{k: v for k, v in self._report.items() if k != "weights"})
