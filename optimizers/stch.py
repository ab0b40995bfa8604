"""Smooth Tchebycheff scalarization."""

from __future__ import annotations

import numpy as np

from mtbench.optim import LossWeighting, hyper, reset_field
from mtbench.optim.simplex import positive_losses, softmax


class SmoothTchebycheff(LossWeighting):
    """The gradient of a smooth maximum of the relative log losses: the worst task leads, the others help.

    Lin et al., "Smooth Tchebycheff Scalarization for Multi-Objective Optimization", ICML 2024, in the form of the
    authors' code for multitask learning: L = mu log sum_k exp(log(l_k / z_k) / mu) with the nadir z, so

        u = sum_k (p_k / l_k) g_k,   p = softmax(log(l / z) / mu).

    In the first ``warmup_steps`` steps p = 1/K (log losses), and z_k is the mean of l_k over those of them in which
    task k was present (never present: its first loss after). A loss at or below 0 counts as 1e-8 of the step's
    largest. The authors' code and LibMTL give K times this and report weights of 1.

    mu = 1 is static weighting by 1/z_k up to one common factor, since p_k / l_k is then proportional to 1/z_k: only
    mu < 1 adapts to what happens after the warm-up.
    """

    name = "stch"
    summary = "a smooth maximum of relative losses (adapts for mu < 1 only)"
    paper = "Lin et al., Smooth Tchebycheff Scalarization for Multi-Objective Optimization, ICML 2024"
    state = ("sums", "seen", "steps")
    rescales = True

    mu: float = hyper(
        1.0,
        gt=0,
        search=(0.1, 1, "log"),
        help="smoothness; at 1 the weights are static after the warm-up, below it they adapt",
    )
    warmup_steps: int = hyper(50, ge=1, help="steps of log losses over which the nadir z is averaged")
    reset_on_episode: bool = reset_field()

    def init_state(self) -> None:
        self.sums, self.seen, self.steps = np.zeros(self.num_tasks), np.zeros(self.num_tasks), 0

    def weights_from_losses(self, losses: np.ndarray) -> np.ndarray:
        positive = positive_losses(losses)
        if self.steps < self.warmup_steps:
            return 1.0 / (len(losses) * positive)
        sums, seen = self.sums[self.tasks], self.seen[self.tasks]
        nadir = positive_losses(np.divide(sums, seen, out=losses.astype(np.float64), where=seen > 0))
        return softmax((np.log(positive) - np.log(nadir)) / self.mu) / positive

    def observe(self, losses: np.ndarray) -> None:
        first = (self.seen[self.tasks] == 0) | (self.steps < self.warmup_steps)
        self.sums[self.tasks] += np.where(first, losses, 0.0)
        self.seen[self.tasks] += first
        self.steps += 1
