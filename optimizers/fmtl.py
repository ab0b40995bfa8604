"""Flatness-aware multi-task learning: each task's gradient at its own worst point nearby."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from mtbench.optim import Cost, MultitaskOptimizer, hyper
from mtbench.optim.chunks import chunk_size

CHUNK = 1 << 14


class FlatMTL(MultitaskOptimizer):
    """Sharpness-aware minimisation (SAM) by task: the mean of the gradients where each task's loss is worst nearby.

    Phan et al., "Improving Multi-task Learning via Seeking Task-based Flat Regions", arXiv 2211.13723, with the mean
    as aggregation:

        e_k = rho g_k / |g_k|,   h_k = gradient of L_k at theta + e_k on the same batch,   u = (1/K) sum_k h_k

    The paper combines g_k and h_k - g_k separately with any method; with the mean that is the sum above. There is no
    public code. One backward pass more for each task. A task without gradient has h_k = g_k = 0. With one task it is
    SAM (Foret et al., ICLR 2021). No state, and no rows: a task is perturbed as soon as its gradient is there.
    """

    name = "fmtl"
    summary = "mean of each task's gradient at its own worst point nearby (SAM by task)"
    paper = "Phan et al., Improving Multi-task Learning via Seeking Task-based Flat Regions, arXiv 2211.13723"
    cost: ClassVar[Cost] = "norms"
    perturbs = True
    shardable = True
    rescales = True

    rho: float = hyper(0.05, gt=0, search=(0.005, 0.5, "log"), help="distance at which the gradient is taken")

    def open_step(self, losses: Sequence[float] | None) -> None:
        self._sum: Tensor | None = None

    def add_task(self, k: int, gradient: Tensor) -> None:
        norm = self._norm(gradient)
        if 0 < norm < math.inf:  # else it is 0, or the step does not count
            gradient, _ = self.gradient_at(k, gradient * (self.rho / norm))
        if self._sum is None:
            self._sum = gradient.clone()
        else:
            self._sum.add_(gradient)

    def _norm(self, gradient: Tensor) -> float:
        """Over all coordinates; alike on all ranks."""
        total = torch.zeros(1, dtype=torch.float64, device=gradient.device)
        for part in gradient.split(chunk_size(gradient.device, CHUNK)):
            total += torch.linalg.vector_norm(part, dtype=torch.float64).square()
        return float(self.reduce_sum(total).sqrt())

    def write_update(self, out: Tensor) -> None:
        self.tasks = sorted(self.present)
        assert self._sum is not None, "a step that counts has at least one task"
        torch.div(self._sum, len(self.tasks), out=out)
        self.set_report([1.0 / len(self.tasks)] * len(self.tasks))
        self.discard_step()

    def discard_step(self) -> None:
        self._sum = None
