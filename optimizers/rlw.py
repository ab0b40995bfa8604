"""Random loss weighting: the litmus test."""

from __future__ import annotations

from typing import Literal

import numpy as np

from mtbench.optim import LossWeighting, hyper, reset_field
from mtbench.optim.simplex import softmax


class RandomWeighting(LossWeighting):
    """Weights drawn anew in every step. A method that does not beat it has learned nothing about its tasks.

    Lin et al., "Reasonable Effectiveness of Random Weighting: A Litmus Test for Multi-Task Learning", TMLR 2022,
    Algorithm 2: u = sum_k w_k g_k with w = softmax(z), z ~ N(0, I) (``normal``), or w uniform on the simplex
    (``dirichlet``). E w = 1/K. All K weights are drawn in every step, also for tasks that are missing.

    The draw of a step is a pure function of one seeded key and the number of steps that counted: a skipped step, a
    resumed run and a second look at the weights change nothing. Public codes draw from the process's global
    generator.
    """

    name = "rlw"
    summary = "random weights, anew in every step: the litmus test"
    paper = "Lin et al., Reasonable Effectiveness of Random Weighting, TMLR 2022"
    state = ("key", "steps")
    random = True

    distribution: Literal["normal", "dirichlet"] = hyper("normal", help="of the weights: softmax of normal, or uniform")
    reset_on_episode: bool = reset_field()

    def init_state(self) -> None:
        self.key, self.steps = int(self.generator.integers(2**63)), 0

    def weights_before(self) -> list[float]:
        draws = np.random.default_rng([self.key, self.steps])
        if self.distribution == "normal":
            return [float(w) for w in softmax(draws.standard_normal(self.num_tasks))]
        return [float(w) for w in draws.dirichlet(np.ones(self.num_tasks))]

    def observe(self, losses: np.ndarray) -> None:
        self.steps += 1
