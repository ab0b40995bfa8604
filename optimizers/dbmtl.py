"""Dual-balancing multi-task learning (DB-MTL)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mtbench.optim import GradientCombining, hyper, reset_field
from mtbench.optim.hooks import extremes
from mtbench.optim.simplex import positive_losses


class DualBalancing(GradientCombining):
    """Gradients of the log losses, averaged over time, all stretched to the length of the longest.

    Lin et al., "Dual-Balancing for Multi-Task Learning", arXiv 2308.12029, Algorithm 1:

        m_k <- b m_k + (1 - b) g_k / l_k,   b = beta / t_k^decay,   u = (max_j |m_j| / K) sum_k m_k / |m_k|

    with m = 0 at first and t_k the steps in which task k was present. No correction of the start: in the first step all
    rows are (1 - b) times as long. A row of zeros adds nothing and still counts in K. A tiny loss makes the longest
    g / l, and so sets the length for all: the norm stands in the report. ``beta=0`` keeps no state. A loss at or below
    0 counts as 1e-8 of the step's largest. LibMTL gives K times this, up to its 1e-8.
    """

    name = "dbmtl"
    summary = "log-loss gradients, averaged, all as long as the longest"
    paper = "Lin et al., Dual-Balancing for Multi-Task Learning, arXiv 2308.12029"
    state = ("averages", "seen")
    rescales = True
    shardable = True

    beta: float = hyper(0.9, ge=0, lt=1, search=(0.1, 0.99, "linear"), help="memory of the averages; 0 keeps none")
    decay: float = hyper(0.0, ge=0, help="the memory is beta / t^decay in step t")
    reset_on_episode: bool = reset_field()

    def init_state(self) -> None:
        self.averages: Tensor | None = None
        self.seen = np.zeros(self.num_tasks)

    def combine_gradients(self, gradients: Tensor, losses: np.ndarray) -> Tensor:
        self.seen[self.tasks] += 1
        factors = 1.0 / positive_losses(losses)
        if self.beta == 0:
            return self._balance(gradients, factors)
        if self.averages is None:
            self.averages = gradients.new_zeros(self.num_tasks, gradients.shape[1])
        memory = self.beta / self.seen[self.tasks] ** self.decay
        for k, gradient, factor, b in zip(self.tasks, gradients, factors, memory, strict=True):
            self.averages[k].mul_(b).add_(gradient, alpha=float((1 - b) * factor))
        rows = self.averages if len(self.tasks) == self.num_tasks else self.averages[self.tasks]
        return self._balance(rows, np.ones(len(rows)))

    def _balance(self, rows: Tensor, factors: np.ndarray) -> Tensor:
        """(max_k |f_k r_k| / n) sum_k r_k / |r_k| of ``rows`` (n, d) and ``factors`` (n,) > 0."""
        largest = self.reduce_max(torch.stack([extremes(row).abs().max() for row in rows]).double()).cpu().numpy()
        safe = np.where(largest > 0, largest, 1.0)
        squares = torch.stack([(row.double() / float(s)).square().sum() for row, s in zip(rows, safe, strict=True)])
        norms = self.reduce_sum(squares).sqrt().cpu().numpy() * safe
        top = float((norms * factors).max())
        self._report["longest"] = top
        scales = np.divide(top / len(rows), norms, out=np.zeros_like(norms), where=norms > 0)
        return rows.t().mv(torch.as_tensor(scales, dtype=rows.dtype, device=rows.device))
