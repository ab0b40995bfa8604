"""GO4Align: tasks are grouped by risk, and each group shares a weight."""

from __future__ import annotations

import numpy as np

from mtbench.optim import LossWeighting, hyper, reset_field
from mtbench.optim.simplex import grown, positive_losses, softmax

TIE = 1e-12
"""Two splits whose costs differ by less, as a share of the whole spread, are equally good."""


class GO4Align(LossWeighting):
    """Tasks with similar scaled risks form groups, by k-means, and weigh as their group's centre.

    Shen et al., "GO4Align: Group Optimization for Multi-Task Alignment", NeurIPS 2024, as in the released class:

        q <- q exp(-step l), normalised,   v_k = (sum_j l_j / l_k) q_k,   c_k the mean of v in k's group,
        u = (1/K) sum_k c_k g_k

    The k-means of K numbers is solved exactly (sorted values, contiguous groups), so that neither a seed nor the order
    of the tasks matters; of equally good splits the one with fewer members in the first, smallest group that differs.
    ``groups=1`` is uniform weighting times a factor. A loss at or below 0 counts as 1e-8 of the step's largest.

    The released class stops with a NameError (its import of k-means is commented out); with an exact k-means put in it
    gives K times this update. The sign of the exponent is the code's; the paper's formula was not read.
    """

    name = "go4align"
    summary = "groups tasks by risk; a group shares its weight"
    paper = "Shen et al., GO4Align: Group Optimization for Multi-Task Alignment, NeurIPS 2024"
    state = ("log_shares",)
    rescales = True

    step: float = hyper(1e-4, ge=0, search=(1e-5, 1e-3, "log"), help="step size of the shares")
    groups: int = hyper(2, ge=1, help="number of groups; more than tasks: one each")
    reset_on_episode: bool = reset_field()

    def init_state(self) -> None:
        self.log_shares = np.full(self.num_tasks, -np.log(self.num_tasks))

    def _after(self, losses: np.ndarray) -> np.ndarray:
        return grown(self.log_shares, self.tasks, -self.step * losses)

    def weights_from_losses(self, losses: np.ndarray) -> np.ndarray:
        positive = positive_losses(losses)
        shares = softmax(self._after(losses)[self.tasks]) * self.step_mass(np.exp(self.log_shares))
        risks = positive.sum() / positive * shares
        return group_means(risks, min(self.groups, len(risks))) / len(risks)

    def observe(self, losses: np.ndarray) -> None:
        self.log_shares = self._after(losses)


def group_means(values: np.ndarray, groups: int) -> np.ndarray:
    """Each of ``values`` (n,) replaced by the mean of its group in the best split into ``groups`` groups (k-means).

    In one dimension the groups are contiguous in the sorted values, and dynamic programming over the place where a
    group ends finds the smallest sum of squared distances from the means.
    """
    order = np.argsort(values, kind="stable")
    ordered, n = values[order], len(values)
    cost = np.zeros((n, n + 1))
    for start in range(n):
        for stop in range(start + 1, n + 1):
            part = ordered[start:stop]
            cost[start, stop] = np.square(part - part.mean()).sum()
    slack = TIE * cost[0, n]
    best = np.full((groups + 1, n + 1), np.inf)  # best[g, i]: of ordered[i:] in g groups
    first_stop = np.zeros((groups + 1, n + 1), dtype=int)
    best[0, n] = 0.0
    for g in range(1, groups + 1):
        for start in range(n - g, -1, -1):
            stops = np.arange(start + 1, n - g + 2)
            totals = cost[start, stops] + best[g - 1, stops]
            best[g, start] = totals.min()
            first_stop[g, start] = stops[np.flatnonzero(totals <= totals.min() + slack)[0]]
    means = np.empty(n)
    start = 0
    for g in range(groups, 0, -1):
        stop = int(first_stop[g, start])
        means[order[start:stop]] = ordered[start:stop].mean()
        start = stop
    return means
