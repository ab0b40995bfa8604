"""Gradient vaccine (GradVac)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mtbench.optim import GramWeighting, hyper, reset_field

EPS = 1e-8
"""Guards the denominator where the target is 1; relative, since it stands beside sqrt(1 - target^2)."""
SLACK = 1e-12
"""A cosine below its target by no more than rounding is no violation."""


class GradVac(GramWeighting):
    """Pulls two tasks' gradients together when their cosine falls below its own running average.

    Wang et al., "Gradient Vaccine: Investigating and Improving Multi-task Optimization in Massively Multilingual
    Models", ICLR 2021, Algorithm 1. For each task i, over the other tasks j in random order, with P_i the running
    gradient and phi = cos(P_i, g_j), where phi < rho_ij:

        P_i <- P_i + g_j |P_i| (rho sqrt(1 - phi^2) - phi sqrt(1 - rho^2)) / (|g_j| sqrt(1 - rho^2)),

    which makes cos(P_i, g_j) = rho_ij; then, always, rho_ij <- (1 - beta) rho_ij + beta phi (phi measured
    before the correction). With rho = 0 this is PCGrad. The whole gradient is one group. The P_i are averaged.

    A pair with a gradient of zeros has no cosine: it changes neither P_i nor rho_ij.
    """

    name = "gradvac"
    summary = "pulls gradients together whose cosine falls below its running average"
    paper = "Wang et al., Gradient Vaccine, ICLR 2021"
    state = ("rho",)
    random = True

    beta: float = hyper(
        0.01, ge=0, le=1, search=(0.001, 0.1, "log"), help="share of the new cosine in the running average"
    )
    reset_on_episode: bool = reset_field()

    def init_state(self) -> None:
        self.rho = np.zeros((self.num_tasks, self.num_tasks))

    def weights_from_gram(self, gram: np.ndarray, losses: np.ndarray) -> np.ndarray:
        n = len(gram)
        orders = [self.generator.permutation(n) for _ in range(n)]
        here = np.ix_(self.tasks, self.tasks)
        coefficients, self.rho[here], corrections = vaccinated(gram, self.rho[here], orders, self.beta)
        self.notes["corrections"] = corrections
        self.notes["mean_target"] = float(self.rho.sum() / max(1, self.num_tasks * (self.num_tasks - 1)))
        return coefficients.mean(axis=0)


def vaccinated(
    gram: np.ndarray, rho: np.ndarray, orders: Sequence[Sequence[int] | np.ndarray], beta: float
) -> tuple[np.ndarray, np.ndarray, int]:
    """Coefficients (n, n) of the corrected gradients, the new targets (n, n), and the number of corrections."""
    coefficients, rho = np.eye(len(gram)), rho.copy()
    norms = np.sqrt(np.diag(gram))
    corrections = 0
    for i, order in enumerate(orders):
        for j in order:
            norm = np.sqrt(max(coefficients[i] @ gram @ coefficients[i], 0.0))
            if j == i or norm == 0 or norms[j] == 0:
                continue
            phi = float(np.clip(gram[j] @ coefficients[i] / (norm * norms[j]), -1.0, 1.0))
            target = rho[i, j]
            if phi < target - SLACK:
                sine, target_sine = np.sqrt(1 - phi**2), np.sqrt(1 - target**2)
                size = norm * (target * sine - phi * target_sine) / (norms[j] * (target_sine + EPS))
                coefficients[i, j] += size
                corrections += 1
            rho[i, j] = (1 - beta) * target + beta * phi
    return coefficients, rho, corrections
