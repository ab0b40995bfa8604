"""Group distributionally robust optimisation."""

from __future__ import annotations

import numpy as np

from mtbench.errors import ConfigError
from mtbench.optim import LossWeighting, PerTask, hyper, preference_field, reset_field
from mtbench.optim.simplex import grown, log_shares, softmax


class GroupDRO(LossWeighting):
    """The weight moves to the tasks with the highest losses, by exponentiated gradient ascent.

    Sagawa et al., "Distributionally Robust Neural Networks for Group Shifts", ICLR 2020, Algorithm 1 and Eq. 5:

        q_k <- q_k exp(step (l_k + C / sqrt(N_k))), normalised,   u = sum_k q_k g_k

    with the new q in the same step and q = 1/K, or the ``preference``, at first. C (``adjustment``) makes small tasks
    count more.
    ``normalize`` divides the adjusted losses by the sum of their sizes first, as the authors' code can. Kept in
    logarithms, so that no loss overflows. The ExcessMTL repository's version is K times this, without C; the greedy
    (CVaR) rule of the authors' code is another method.
    """

    name = "groupdro"
    summary = "weight moves to the tasks with the highest losses"
    paper = "Sagawa et al., Distributionally Robust Neural Networks for Group Shifts, ICLR 2020"
    state = ("log_shares",)

    step: float = hyper(0.01, gt=0, search=(0.001, 0.1, "log"), help="step size of the shares")
    adjustment: float = hyper(0.0, ge=0, help="C of l + C / sqrt(N_k); needs task_sizes when not 0")
    normalize: bool = hyper(False, help="divide the losses by the sum of their sizes")
    preference: PerTask = preference_field()
    reset_on_episode: bool = reset_field()

    def init_state(self) -> None:
        if self.adjustment and self.task_sizes is None:
            raise ConfigError(f"groupdro: adjustment={self.adjustment:g} needs task_sizes in start()")
        self.log_shares = log_shares(self.per_task("preference"))

    def _after(self, losses: np.ndarray) -> np.ndarray:
        adjusted = losses.astype(np.float64)
        if self.adjustment and self.task_sizes is not None:
            adjusted = adjusted + self.adjustment / np.sqrt(np.asarray(self.task_sizes, dtype=np.float64)[self.tasks])
        total = np.abs(adjusted).sum()
        if self.normalize and total > 0:
            adjusted = adjusted / total
        return grown(self.log_shares, self.tasks, self.step * adjusted)

    def weights_from_losses(self, losses: np.ndarray) -> np.ndarray:
        return softmax(self._after(losses)[self.tasks]) * self.step_mass(np.exp(self.log_shares))

    def observe(self, losses: np.ndarray) -> None:
        self.log_shares = self._after(losses)
