"""Dynamic weight average."""

from __future__ import annotations

import numpy as np

from mtbench.optim import LossWeighting, hyper, reset_field


class DynamicWeightAverage(LossWeighting):
    """Tasks whose loss falls more slowly than the others' get more weight.

    Liu, Johns & Davison, "End-To-End Multi-Task Learning With Attention", CVPR 2019, Eq. 7. With L_k(t) the mean loss
    over the t-th window of steps (the paper's windows are epochs):

        r_k = L_k(t-1) / L_k(t-2),   lambda_k = K softmax_k(r_k / T),   u = (1/K) sum_k lambda_k g_k

    and lambda_k = 1 until two windows are complete. A task without a usable ratio (no loss in a window, a loss
    at or below 0) counts as r_k = 1. In fine-tuning r stays near 1, so the weights stay within some 5 % of uniform.
    """

    name = "dwa"
    summary = "more weight to the losses that fall more slowly"
    paper = "Liu et al., End-To-End Multi-Task Learning With Attention, CVPR 2019"
    state = ("sums", "seen", "steps", "windows")

    temperature: float = hyper(2.0, gt=0, search=(0.5, 8, "log"), help="T of softmax(r / T)")
    window: int = hyper(50, ge=1, help="steps whose losses are averaged")
    reset_on_episode: bool = reset_field()

    def init_state(self) -> None:
        self.sums, self.seen, self.steps = np.zeros(self.num_tasks), np.zeros(self.num_tasks), 0
        self.windows = np.full((2, self.num_tasks), np.nan)
        """Mean losses of the last two complete windows, the earlier one first; NaN where there is none."""

    def weights_before(self) -> list[float]:
        return [float(w) for w in relative_rates(self.windows[0], self.windows[1], self.temperature)]

    def observe(self, losses: np.ndarray) -> None:
        self.sums[self.tasks] += losses
        self.seen[self.tasks] += 1
        self.steps += 1
        if self.steps == self.window:
            means = np.divide(self.sums, self.seen, out=np.full(self.num_tasks, np.nan), where=self.seen > 0)
            self.windows = np.stack([self.windows[1], means])
            self.sums, self.seen, self.steps = np.zeros(self.num_tasks), np.zeros(self.num_tasks), 0


def relative_rates(before: np.ndarray, last: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(r / T) (K,) for r = last / before (K,), r = 1 where either is not a number above 0."""
    usable = (before > 0) & (last > 0)
    r = np.divide(last, before, out=np.ones_like(last), where=usable)
    e = np.exp((r - r.max()) / temperature)
    share: np.ndarray = e / e.sum()
    return share
