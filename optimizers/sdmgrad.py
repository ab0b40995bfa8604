"""Stochastic direction-oriented multi-objective gradient descent (SDMGrad)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from mtbench.optim import Cost, GradientCombining, PerTask, hyper, preference_field, reset_field
from mtbench.optim.chunks import chunk_size
from mtbench.optim.simplex import project_to_simplex

CHUNK = 1 << 14
"""Coordinates per chunk: K rows of it in float64 stay in the processor's cache."""


class SDMGrad(GradientCombining):
    """MGDA pulled towards the mean, its weights from gradients that are independent of the update.

    Xiao, Ban & Ji, "Direction-oriented Multi-objective Learning: Simple and Provable Stochastic Algorithms", NeurIPS
    2023, Algorithm 1. Three independent batches of each task a step, with gradients Z (draw 0), X and X' (draws 1, 2):

        A = X X'^T / (mean_k sqrt(max(A_kk, 0)))^2
        ``inner_steps`` times, from v = 0:   v <- momentum v + A (w + lam / K),   w <- P(w - inner_lr v)
        u = (sum_k w_k z_k + lam mean_k z_k) / (1 + lam)

    with P the Euclidean projection onto the simplex; w is carried from step to step. With a ``preference`` p, of sum 1,
    lam p_k stands for lam / K. A product of two independent
    gradients has no bias, the square of one has. X is kept (K rows), X' is multiplied as it comes, Z streams.

    The authors' class puts its three gradient buffers into one list as the same tensor, so that all draws are the last
    one and nothing is sampled twice; its 1e-4 under the root turns the direction where gradients are small and gives
    NaN for negative A_kk. LibMTL and torchjd do what the paper says. Their ``inner_lr`` of 10 and 5 does not converge:
    there the last bits of the gradients decide the weights. Where A has no positive diagonal entry w stays. A missing
    task keeps its weight, and the others move what they have together.
    """

    name = "sdmgrad"
    summary = "MGDA pulled towards the mean, weights from independent draws"
    paper = "Xiao, Ban & Ji, Direction-oriented Multi-objective Learning, NeurIPS 2023"
    cost: ClassVar[Cost] = "gram"
    state = ("task_shares",)
    draws = 3
    shardable = True

    lam: float = hyper(0.3, ge=0, search=(0.03, 3, "log"), help="pull towards the mean gradient")
    inner_lr: float = hyper(0.2, gt=0, le=10, help="step size of the weights; from about 1 on they do not converge")
    momentum: float = hyper(0.5, ge=0, lt=1, help="momentum of the weights within a step")
    inner_steps: int = hyper(20, ge=1, help="moves of the weights in each step")
    preference: PerTask = preference_field()
    reset_on_episode: bool = reset_field()

    def init_state(self) -> None:
        self.task_shares = np.full(self.num_tasks, 1.0 / self.num_tasks)

    def open_step(self, losses: Sequence[float] | None) -> None:
        super().open_step(losses)
        self._first: list[int] = []
        self._products: dict[int, Tensor] = {}
        self._weights: dict[int, float] | None = None
        self._sum: Tensor | None = None

    def add_draw(self, k: int, gradient: Tensor, draw: int) -> None:
        if draw == 2:
            self._products[k] = self._times_rows(gradient)
        else:
            super().add_draw(k, gradient, draw)
            self._first.append(k)

    def _times_rows(self, gradient: Tensor) -> Tensor:
        """A gradient of draw 2 times those of draw 1 (n,), in float64 and in the order of the tasks."""
        rows = [self.row(k, 1) for k in sorted(self._first)]
        total = torch.zeros(len(rows), dtype=torch.float64, device=gradient.device)
        size = chunk_size(gradient.device, CHUNK)
        for start in range(0, len(gradient), size):
            part = gradient[start : start + size].double()
            total += torch.stack([row[start : start + size].double().dot(part) for row in rows])
        return total

    def add_task(self, k: int, gradient: Tensor) -> None:
        if self._weights is None:
            self._weights = self._solve()
        weight = self._weights[k]
        if self._sum is None:
            self._sum = gradient * weight
        else:
            self._sum.add_(gradient, alpha=weight)

    def _solve(self) -> dict[int, float]:
        """The effective weight of each task that has come in draws 1 and 2."""
        self.tasks = sorted(self._products)
        products = self.reduce_sum(torch.stack([self._products[k] for k in self.tasks], dim=1)).cpu().numpy()
        before = self.task_shares[self.tasks]
        mass, count = before.sum(), len(self.tasks)
        within = before / mass if mass > 0 else np.full(count, 1.0 / count)
        within = self._move(within, products)
        self._moved = within * mass
        pull = self.lam / count * self.preferences()
        effective = (within * self.step_mass(self.task_shares) + pull) / (1 + self.lam)
        return dict(zip(self.tasks, effective.tolist(), strict=True))

    def _move(self, weights: np.ndarray, products: np.ndarray) -> np.ndarray:
        """The weights (n,) after the inner steps on ``products`` (n, n)."""
        scale = np.sqrt(np.maximum(np.diag(products), 0.0)).mean() ** 2
        if not (0 < scale < np.inf and np.isfinite(products).all()):
            return weights
        matrix, velocity = products / scale, np.zeros_like(weights)
        pull = self.lam / len(weights) * self.preferences()
        for _ in range(self.inner_steps):
            velocity = self.momentum * velocity + matrix @ (weights + pull)
            weights = project_to_simplex(weights - self.inner_lr * velocity)
        return weights

    def write_update(self, out: Tensor) -> None:
        self.tasks = sorted(self.present)
        assert self._sum is not None and self._weights is not None, "a step that counts has at least one task"
        out.copy_(self._sum)
        self.task_shares[self.tasks] = self._moved
        self.set_report([self._weights[k] for k in self.tasks])
        self.discard_step()

    def discard_step(self) -> None:
        self._sum, self._weights, self._products = None, None, {}
