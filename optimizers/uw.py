"""Uncertainty weighting."""

from __future__ import annotations

import numpy as np

from mtbench.optim import LossWeighting, hyper, reset_field


class UncertaintyWeighting(LossWeighting):
    """Each task is weighted by exp(-s_k), the inverse of a learned variance of its likelihood.

    Kendall, Gal & Cipolla, "Multi-Task Learning Using Uncertainty to Weigh Losses", CVPR 2018, Eq. 10 for
    classification, which is what a contrastive loss is: L = sum_k exp(-s_k) L_k + s_k / 2 with s_k = log sigma_k^2,
    s_k = 0 at first. So u = (1/K) sum_k exp(-s_k) g_k and, after the step, s_k moves by gradient descent:

        dL/ds_k = -exp(-s_k) l_k + 1/2

    which rests at exp(s_k) = 2 l_k: in the end each loss is divided by its own size. A step never goes past that
    point, so a loss of any size is safe; a loss at or below 0 counts as a millionth of the step's largest.
    """

    name = "uw"
    summary = "divides each loss by a learned uncertainty"
    paper = "Kendall et al., Multi-Task Learning Using Uncertainty to Weigh Losses, CVPR 2018"
    state = ("log_variances",)
    rescales = True

    lr: float = hyper(0.01, gt=0, search=(0.001, 0.1, "log"), help="step size of s_k")
    reset_on_episode: bool = reset_field()

    def init_state(self) -> None:
        self.log_variances = np.zeros(self.num_tasks)

    def weights_before(self) -> list[float]:
        return [float(w) for w in np.exp(-self.log_variances) / self.num_tasks]

    def observe(self, losses: np.ndarray) -> None:
        largest = np.abs(losses).max()
        if largest == 0:
            return
        losses = np.maximum(losses, 1e-6 * largest)
        s = self.log_variances[self.tasks]
        moved = s - self.lr * (0.5 - np.exp(-s) * losses)
        rest = np.log(2 * losses)
        self.log_variances[self.tasks] = np.where(s < rest, np.minimum(moved, rest), np.maximum(moved, rest))
