"""Robust multi-task learning with excess risks (ExcessMTL)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mtbench.optim import GradientCombining, PerTask, hyper, preference_field, reset_field
from mtbench.optim.simplex import grown, log_shares, softmax


class ExcessMTL(GradientCombining):
    """Weight moves to the tasks that are farthest from their own optimum, not to those whose loss is high.

    He et al., "Robust Multi-Task Learning with Excess Risks", ICML 2024, Eq. 6 to 9. A task's excess risk is estimated
    by a diagonal second-order expansion, with S_k the sum of its squared gradients so far:

        S_k <- S_k + g_k^2,   e_k = sum_i g_ki^2 / sqrt(S_ki)   (0 / 0 = 0),   x_k = step e_k / ref_k,
        q <- q exp(x), normalised,   u = sum_k q_k g_k   with the new q; q = 1/K at first, or the ``preference``.

    ref_k is the mean of the task's first ``reference_steps`` excess risks that are not 0; while they are collected
    x_k = 0, so the first step is uniform. Free of scale without any epsilon; sqrt(S) is what is kept, so that no square
    leaves the range of its type. The authors' code and LibMTL give K times this (with 1e-7 inside the root); torchjd
    with its defaults applies the raw e_k in the first step, and so has other weights from there on.
    """

    name = "excessmtl"
    summary = "weight moves to the tasks farthest from their own optimum"
    paper = "He et al., Robust Multi-Task Learning with Excess Risks, ICML 2024"
    state = ("roots", "log_shares", "reference_sums", "reference_counts")
    shardable = True
    weighted_sum = True

    step: float = hyper(0.01, gt=0, search=(0.001, 0.1, "log"), help="step size of the shares")
    reference_steps: int = hyper(1, ge=1, help="first excess risks whose mean the later ones are divided by")
    preference: PerTask = preference_field()
    reset_on_episode: bool = reset_field()

    def init_state(self) -> None:
        self.roots: Tensor | None = None
        self.log_shares = log_shares(self.per_task("preference"))
        self.reference_sums, self.reference_counts = np.zeros(self.num_tasks), np.zeros(self.num_tasks)

    def combine_gradients(self, gradients: Tensor, losses: np.ndarray) -> Tensor:
        if self.roots is None:
            self.roots = gradients.new_zeros(self.num_tasks, gradients.shape[1])
        excess = torch.zeros(len(self.tasks), dtype=torch.float64, device=gradients.device)
        for row, (k, gradient) in enumerate(zip(self.tasks, gradients, strict=True)):
            root = torch.hypot(self.roots[k], gradient, out=self.roots[k])
            part = (gradient / root).nan_to_num_(nan=0.0).mul_(gradient)
            excess[row] = part.sum(dtype=torch.float64)
        self._grow(self.reduce_sum(excess).cpu().numpy())
        weights = softmax(self.log_shares[self.tasks]) * self.step_mass(np.exp(self.log_shares))
        self.set_report(weights)
        return gradients.t().mv(torch.as_tensor(weights, dtype=gradients.dtype, device=gradients.device))

    def _grow(self, excess: np.ndarray) -> None:
        counts = self.reference_counts[self.tasks]
        known = counts >= self.reference_steps
        collects = ~known & (excess > 0)
        self.reference_sums[self.tasks] += np.where(collects, excess, 0.0)
        self.reference_counts[self.tasks] += collects
        references = self.reference_sums[self.tasks] / np.maximum(counts, 1)
        growth = self.step * np.divide(excess, references, out=np.zeros_like(excess), where=known)
        self.log_shares = grown(self.log_shares, self.tasks, growth)
