"""The weighted sum of the task losses, which every other method is compared with."""

from __future__ import annotations

from typing import Literal

import numpy as np

from mtbench.errors import ConfigError
from mtbench.optim import LossWeighting, PerTask, hyper, preference_field


class Naive(LossWeighting):
    """u = sum_k w_k g_k with fixed weights: 1/K, N_k / sum N, or proportional to N_k^(1/c), each times the preference.

    Zhang et al., "Improving Multitask Retrieval by Promoting Task Specialization", TACL 2023, Eq. 4.
    """

    name = "naive"
    summary = "fixed weights: the mean of the task gradients"
    paper = "Zhang et al., TACL 2023 (baseline)"

    weights: Literal["uniform", "size", "temperature"] = hyper("uniform", help="fixed task weights")
    temperature: float = hyper(4.0, gt=0, help="c of N_k^(1/c), for weights=temperature")
    preference: PerTask = preference_field()
    compat: Literal["none", "taco"] = hyper("none", help="taco: the authors' code sums instead of averaging")

    def begin_episode(self) -> None:
        if self.weights == "uniform":
            shares = np.ones(self.num_tasks)
        elif self.task_sizes is None:
            raise ConfigError(f"naive: weights={self.weights!r} needs task_sizes in start()")
        else:
            shares = np.asarray(self.task_sizes, dtype=np.float64)
            if self.weights == "temperature":
                shares = shares ** (1.0 / self.temperature)
        preference = self.per_task("preference")
        shares = shares * (preference / preference.max())
        self._shares = shares / shares.sum()
        if self.compat == "taco":
            self._shares = self._shares * self.num_tasks

    def weights_before(self) -> list[float]:
        return [float(w) for w in self._shares]
