"""Impartial multi-task learning, balance of the losses (IMTL-L)."""

from __future__ import annotations

import numpy as np

from mtbench.optim import LossWeighting, hyper, reset_field
from mtbench.optim.simplex import positive_losses


class LossBalance(LossWeighting):
    """Each loss is multiplied by exp(s_k), learned so that all scaled losses come to 1.

    Liu et al., "Towards Impartial Multi-task Learning", ICLR 2021, Section 3.2: L = sum_k exp(s_k) l_k - s_k, s_k = 0
    at first. So u = (1/K) sum_k exp(s_k) g_k with s from before the step, and then

        s_k <- s_k - lr (exp(s_k) l_k - 1)

    which rests at exp(s_k) = 1 / l_k. A step never goes past that point, so a loss of any size is safe; a loss at or
    below 0 counts as 1e-8 of the step's largest. Up to its start and a factor 2 it is ``uw`` (s_uw = log 2 - s):
    expect equal results. LibMTL's ``IMTL`` is this together with IMTL-G.
    """

    name = "imtl_l"
    summary = "scales every loss to 1 by a learned factor"
    paper = "Liu et al., Towards Impartial Multi-task Learning, ICLR 2021"
    state = ("log_scales",)
    rescales = True

    lr: float = hyper(0.01, gt=0, search=(0.001, 0.1, "log"), help="step size of s_k")
    reset_on_episode: bool = reset_field()

    def init_state(self) -> None:
        self.log_scales = np.zeros(self.num_tasks)

    def weights_before(self) -> list[float]:
        return [float(w) for w in np.exp(self.log_scales) / self.num_tasks]

    def observe(self, losses: np.ndarray) -> None:
        if not losses.any():
            return  # nothing to scale
        losses = positive_losses(losses)
        s, rest = self.log_scales[self.tasks], -np.log(losses)
        with np.errstate(over="ignore"):  # past every resting point, where the step ends
            moved = s - self.lr * (np.exp(s) * losses - 1)
        self.log_scales[self.tasks] = np.where(s < rest, np.minimum(moved, rest), np.maximum(moved, rest))
