"""FAMO: fast adaptive multitask optimization."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from mtbench.optim import LossWeighting, hyper, reset_field
from mtbench.optim.scalars import TaskAdam


class FAMO(LossWeighting):
    """Weights under which the logarithms of all losses fall at the same rate, from losses alone.

    Liu et al., "FAMO: Fast Adaptive Multitask Optimization", NeurIPS 2023, Algorithm 1, with the losses' lower bound
    0. With z = softmax(xi), D_k the loss, and D'_k the loss on the same batch after the model's step:

        u = sum_k (z_k / D_k) g_k / sum_k (z_k / D_k)
        d_i = z_i (delta_i - sum_k z_k delta_k),  delta_k = log D_k - log D'_k,   xi <- Adam(d + gamma xi)

    The sum is accumulated as the gradients come and divided at the end, so neither rows nor losses are needed ahead.
    D' costs one more forward pass, without gradient, through ``after_step``. Losses at or below 0 count as a
    100-millionth of the largest loss of this step and the one before.
    """

    name = "famo"
    summary = "lets the logarithms of all losses fall at the same rate"
    paper = "Liu et al., FAMO: Fast Adaptive Multitask Optimization, NeurIPS 2023"
    state = ("logits", "adam", "largest_loss")

    lr: float = hyper(0.025, gt=0, search=(0.0025, 0.25, "log"), help="step size of xi")
    weight_decay: float = hyper(0.01, ge=0, search=(0.001, 0.1, "log"), help="gamma, the decay of xi")
    reset_on_episode: bool = reset_field()

    def init_state(self) -> None:
        self.logits, self.largest_loss = np.zeros(self.num_tasks), 0.0
        self.adam = TaskAdam(self.num_tasks, self.lr).state_dict()

    @property
    def needs_losses(self) -> bool:
        return False

    def open_step(self, losses: Sequence[float] | None) -> None:
        self._weights = [0.0] * self.num_tasks
        self._rows, self._sum = {}, None
        self._before: np.ndarray | None = None
        self._largest = self.largest_loss
        self._z = np.exp(self.logits - self.logits.max())
        if losses is not None:
            self._see(losses)

    def add_task(self, k: int, gradient: Tensor) -> None:
        self._see([self.losses[k]])
        assert self._weights is not None
        self._weights[k] = float(self._z[k]) / float(self._distance(self.losses[k]))
        self.accumulate(gradient, self._weights[k])

    def write_update(self, out: Tensor) -> None:
        self.tasks = sorted(self.present)
        assert self._sum is not None and self._weights is not None
        weights = np.asarray([self._weights[k] for k in self.tasks])
        out.copy_(self._sum).div_(weights.sum())
        self.set_report(weights / weights.sum())
        self._before = np.asarray([self.losses[k] for k in self.tasks])
        self.largest_loss = float(np.abs(self._before).max())
        self.discard_step()

    def after_step(self, loss_fn: Callable[[], Sequence[float]]) -> None:
        """Move xi by how much each loss of the batch fell; a step that did not count moves nothing."""
        if self._before is None:
            return
        after = np.asarray([float(v) for v in loss_fn()])[self.tasks]
        before, self._before = self._before, None
        if not np.isfinite(after).all():
            return
        delta = np.log(self._distance(before)) - np.log(self._distance(after))
        adam = TaskAdam(self.num_tasks, self.lr, eps=1e-8)  # the logarithms' differences have no scale
        adam.load_state_dict(self.adam)
        derivative = softmax_derivative(self.logits[self.tasks], delta) + self.weight_decay * self.logits[self.tasks]
        self.logits[self.tasks] += adam.change(derivative, self.tasks)
        self.adam = adam.state_dict()

    def _see(self, losses: Sequence[float]) -> None:
        self._largest = max([self._largest, *(abs(v) for v in losses if np.isfinite(v))])

    def _distance(self, losses: np.ndarray | float) -> np.ndarray:
        """D of Algorithm 1: the losses above their lower bound 0."""
        return np.maximum(losses, 1e-8 * (self._largest or 1.0))


def softmax_derivative(logits: np.ndarray, delta: np.ndarray) -> np.ndarray:
    """The derivative (n,) of <softmax(logits), delta> by the logits (n,)."""
    z = np.exp(logits - logits.max())
    z /= z.sum()
    derivative: np.ndarray = z * (delta - z @ delta)
    return derivative
