"""Annealed sampling: batches in proportion to the tasks' sizes at first, nearly alike at the end."""

from __future__ import annotations

import numpy as np

from mtbench.errors import ConfigError
from mtbench.optim import LossWeighting, hyper, reset_field


class AnnealedSampling(LossWeighting):
    """The batch goes to large tasks first, and more and more evenly to all.

    Stickland & Murray, "BERT and PALs: Projected Attention Layers for Efficient Adaptation in Multi-Task Learning",
    ICML 2019, "annealed sampling", as in the authors' code (``run_multi_task.py --sample anneal``):

        p_k proportional to N_k^a,   a = 1 - ``fall`` e / (E - 1),   fall = 0.8

    in epoch e = 0, .., E - 1; here in every step instead of every epoch. The code draws one task a step with
    probability p_k. Here each step has B p_k queries of task k (largest remainders, at least one), and the update is
    the mean over its queries, sum_k (B_k / B) g_k: the same in expectation, without the noise of drawing tasks.
    In a loop that gives fixed batches the weights are p_k themselves.
    """

    name = "annealed"
    summary = "batches by task size at first, nearly alike at the end"
    paper = "Stickland & Murray, BERT and PALs, ICML 2019"
    state = ("steps",)

    fall: float = hyper(0.8, ge=0, le=1, help="by how much the exponent of the sizes falls, from 1")
    reset_on_episode: bool = reset_field()

    def init_state(self) -> None:
        if self.task_sizes is None:
            raise ConfigError("annealed: needs task_sizes in start()")
        self.steps = 0

    def shares(self) -> list[float]:
        assert self.task_sizes is not None, "checked in init_state"
        done = min(1.0, self.steps / max(1, self.total_steps - 1))
        powers = np.asarray(self.task_sizes, dtype=np.float64) ** (1.0 - self.fall * done)
        found: list[float] = (powers / powers.sum()).tolist()
        return found

    def weights_before(self) -> list[float]:
        if self.sizes is None:
            return self.shares()
        return [size / sum(self.sizes) for size in self.sizes]

    def observe(self, losses: np.ndarray) -> None:
        self.steps += 1
