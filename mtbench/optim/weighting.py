"""The three ways to write a multitask optimizer, from the cheapest to the most general."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from mtbench.optim.chunks import chunk_size
from mtbench.optim.contract import Cost, MultitaskOptimizer, Reduce
from mtbench.optim.hooks import GradientAt, by_draw, extremes
from mtbench.records.values import Report

CHUNK = 1 << 14
"""Columns per chunk of the Gram matrix: a chunk of K rows in float64 stays in the processor's cache."""


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


class _RowKeeping(MultitaskOptimizer):
    """Keeps the K rows of a step in one ``(K, d)`` buffer that is reused from step to step."""

    def open_step(self, losses: Sequence[float] | None) -> None:
        if not hasattr(self, "_buffers"):
            self._buffers: dict[int, Tensor] = {}

    def combine(self, gradients: Tensor, losses: Tensor, *, gradient_at: GradientAt | None = None) -> Tensor:
        """As :meth:`MultitaskOptimizer.combine`, reading the caller's rows in place instead of copying them."""
        self._given: Tensor | None = by_draw(gradients.detach(), self.draws, 2)
        try:
            return super().combine(gradients, losses, gradient_at=gradient_at)
        finally:
            self._given = None

    def add_task(self, k: int, gradient: Tensor) -> None:
        self.add_draw(k, gradient, 0)

    def add_draw(self, k: int, gradient: Tensor, draw: int) -> None:
        if getattr(self, "_given", None) is not None:
            return
        buffer = self._buffers.get(draw)
        shape, like = (self.num_tasks, gradient.numel()), (gradient.dtype, gradient.device)
        if buffer is None or buffer.shape != shape or (buffer.dtype, buffer.device) != like:
            buffer = self._buffers[draw] = torch.empty(shape, dtype=gradient.dtype, device=gradient.device)
        buffer[k].copy_(gradient)

    def _rows(self, draw: int) -> Tensor:
        rows = getattr(self, "_given", None)
        return self._buffers[draw] if rows is None else rows[draw]

    def row(self, k: int, draw: int = 0) -> Tensor:
        """The gradient (d,) of task ``k``, which must be present; read only."""
        return self._rows(draw)[k]

    def present_rows(self, draw: int = 0) -> Tensor:
        """The rows ``(n, d)`` of the present tasks, in the order of the tasks; read only."""
        self.tasks = sorted(self.present)
        rows = self._rows(draw)
        return rows if len(self.tasks) == self.num_tasks else rows[self.tasks]

    def present_losses(self) -> np.ndarray:
        """The losses (n,) of the present tasks, float64."""
        return np.asarray([self.losses[k] for k in sorted(self.present)])


class GramWeighting(_RowKeeping):
    """Weights from the Gram matrix. Override :meth:`weights_from_gram`; the mathematics is K x K, in float64."""

    cost: ClassVar[Cost] = "gram"
    shardable = True
    weighted_sum = True

    def weights_from_gram(self, gram: np.ndarray, losses: np.ndarray) -> np.ndarray | Sequence[float]:
        """Weights (n,) in mean form from ``gram`` (n, n), with entries <g_i, g_j>, and the ``losses`` (n,).

        ``gram`` is scaled by one positive number so that its largest diagonal entry lies between 1 and 4 (or is 0):
        a method whose weights depend on the gradients' absolute size multiplies by ``self.gram_scale``.
        ``self.tasks`` names the present tasks.
        """
        raise NotImplementedError

    def watch(self, gradient: Tensor) -> None:
        """The Gram matrix sees whatever is not finite: no pass of its own."""

    def probes(self) -> list[Tensor]:
        self._step_rows = self.present_rows()
        self._gram, self.gram_scale = gram_matrix(self._step_rows, self.reduce_sum, self.reduce_max)
        return [torch.from_numpy(np.diag(self._gram).copy())]

    def write_update(self, out: Tensor) -> None:
        rows = self._step_rows
        del self._step_rows  # where a task is missing it is a copy
        numbers: Report = {}
        self.notes = numbers
        weights = self.scaled(np.asarray(self.weights_from_gram(self._gram, self.present_losses()), dtype=np.float64))
        torch.mv(rows.t(), torch.as_tensor(weights, dtype=rows.dtype, device=rows.device), out=out)
        self.set_report(weights, **numbers)

    def discard_step(self) -> None:
        self.__dict__.pop("_step_rows", None)


class GradientCombining(_RowKeeping):
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


def gram_matrix(
    rows: Tensor, reduce_sum: Reduce = lambda t: t, reduce_max: Reduce = lambda t: t
) -> tuple[np.ndarray, float]:
    """The Gram matrix of ``rows`` (n, d) in float64, scaled, and the scale: ``G @ G.T == gram * scale``.

    The scale is a power of four near the largest squared norm, so that neither 1e-20 nor 1e15 leaves the range and
    no threshold is absolute; it is 0 or infinite where squared norms leave the range of float64. Multiplied and
    accumulated in float64, chunk by chunk, in one read of the rows (two where that range is left); no temporary
    of the size of ``rows``. A diagonal entry is finite exactly if its row is.
    Of several ranks with a slice of the columns each, ``reduce_sum`` adds the partial matrices and ``reduce_max``
    finds the largest entry, so that all of them scale alike.
    """
    gram, shift = reduce_sum(_products(rows)).cpu().numpy(), 1.0
    # squares of shorter floats never leave the range of float64; those of float64 may, and 0 may be an underflow
    squares = np.diag(gram)
    if rows.dtype == torch.float64 and not ((squares > 1e-280) & (squares < 1e280)).all():
        largest = float(reduce_max(torch.stack([extremes(r).abs().max() for r in rows]).max()))
        if 0 < largest < np.inf:
            shift = 2.0 ** -np.floor(np.log2(largest))
            gram = reduce_sum(_products(rows, shift)).cpu().numpy()
    top = float(np.diag(gram).max()) if len(gram) else 0.0
    if not 0 < top < np.inf:
        return gram, 1.0
    scale = 4.0 ** np.floor(np.log2(top) / 2)
    with np.errstate(over="ignore", under="ignore"):
        return gram / scale, float(scale / shift / shift)


def _products(rows: Tensor, factor: float = 1.0) -> Tensor:
    """The inner products (n, n) of ``rows`` (n, d), multiplied by ``factor`` before, in float64."""
    n, d = rows.shape
    total = torch.zeros(n, n, dtype=torch.float64, device=rows.device)
    size = chunk_size(rows.device, CHUNK)
    memory = torch.empty(n, min(size, d), dtype=torch.float64, device=rows.device)
    for start in range(0, d, size):
        chunk = memory[:, : min(size, d - start)].copy_(rows[:, start : start + size])
        if factor != 1.0:
            chunk.mul_(factor)
        total.addmm_(chunk, chunk.t())
    return total
