"""Implicit distributionally robust optimisation (iDRO) of COCO-DR."""

from __future__ import annotations

import numpy as np

from mtbench.optim import GramWeighting, hyper, reset_field
from mtbench.optim.simplex import bounded_power, log_sum_exp, positive_losses, softmax


class ImplicitDRO(GramWeighting):
    """Weights that grow for the tasks whose gradients lower the others' losses, one step behind.

    Yu et al., "COCO-DR: Combating Distribution Shift in Zero-Shot Dense Retrieval with Contrastive and
    Distributionally Robust Learning", EMNLP 2022, Section 4.3, as in the public class ``iDROLoss``. With h from
    *before* the step (1/K at first) u = sum_k h_k g_k; then

        r_k = (step / K) sum_j (l_k l_j)^loss_power cos(g_k, g_j),   h <- h^memory exp(r), normalised,
        h <- max(h, floor), normalised.

    With memory 1 it is ``cgd`` (rule official) with a lag; below 1 it forgets, which CGD never does. The public code
    begins with h = 1 each, so that its first step is K times longer, does not normalise after flooring, takes cosines
    over the last three layers, and resets a missing group to the floor: here a missing task keeps its share. The
    published values of its settings are not in the repository; the defaults are chosen here. A row of zeros has cosine
    0 with every other.
    """

    name = "idro"
    summary = "weights follow loss-weighted cosines, one step behind, and may forget"
    paper = "Yu et al., COCO-DR, EMNLP 2022"
    state = ("log_shares",)

    step: float = hyper(0.1, gt=0, search=(0.01, 1, "log"), help="step size of the shares")
    loss_power: float = hyper(0.5, ge=0, help="exponent on l_k l_j")
    memory: float = hyper(1.0, ge=0, le=1, help="exponent on the shares before: 1 keeps them, 0 forgets them")
    floor: float = hyper(1e-5, ge=0, lt=1, help="smallest share")
    reset_on_episode: bool = reset_field()

    def init_state(self) -> None:
        self.log_shares = np.full(self.num_tasks, -np.log(self.num_tasks))

    def weights_from_gram(self, gram: np.ndarray, losses: np.ndarray) -> np.ndarray:
        before = self.log_shares[self.tasks]
        weights = softmax(before) * self.step_mass(np.exp(self.log_shares))
        mass = log_sum_exp(before)
        if mass > -np.inf:
            after = self.memory * (before - mass) + self._growth(gram, losses)
            after -= log_sum_exp(after)
            if self.floor > 0:
                after = np.maximum(after, np.log(self.floor))
                after -= log_sum_exp(after)
            self.log_shares[self.tasks] = after + mass
        return weights

    def _growth(self, gram: np.ndarray, losses: np.ndarray) -> np.ndarray:
        norms = np.sqrt(np.diag(gram))
        products = np.outer(norms, norms)
        cosines = np.divide(gram, products, out=np.zeros_like(gram), where=products > 0)
        powers = bounded_power(positive_losses(losses), self.loss_power)
        growth: np.ndarray = self.step / len(gram) * (np.outer(powers, powers) * cosines).sum(axis=1)
        return growth
