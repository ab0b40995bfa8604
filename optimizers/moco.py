"""Multi-objective gradients with correction (MoCo)."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from mtbench.optim import GradientCombining, hyper, reset_field
from mtbench.optim.gram import gram_matrix
from mtbench.optim.simplex import positive_losses, project_to_simplex


class MoCo(GradientCombining):
    """MGDA on gradients that are tracked over time: noise of single batches no longer biases the common direction.

    Fernando et al., "Mitigating Gradient Bias in Multi-objective Learning: A Provably Convergent Approach", ICLR 2023,
    Algorithm 1, Eq. 10 to 12:

        y_k <- y_k + b_t (g_k - y_k),   lambda <- P(lambda - c_t (M / s + rho I) lambda),   u = sum_k lambda_k y_k

    with the new y and lambda, M = y y', s = tr M / K, P the Euclidean projection onto the simplex, b_t = beta /
    t_k^beta_decay and c_t = gamma / t^gamma_decay. The division by s makes gamma free of the gradients' scale and is
    ours (the authors' 2 delta is c_t / s). ``normalize="loss"`` tracks l_k g_k / |g_k| instead.

    LibMTL replaces the projection by a softmax of lambda, which pulls it back to uniform in every step, and always
    normalises by the loss: not the paper's method.

    As in MGDA, weight moves to the shortest gradient: a task whose gradient is 0 for ever (a frozen one) takes most.
    """

    name = "moco"
    summary = "MGDA's direction from gradients tracked over time"
    paper = "Fernando et al., Mitigating Gradient Bias in Multi-objective Learning, ICLR 2023"
    frozen_task = "with it moco moves most of the weight to the task without a gradient, and little is learnt"
    state = ("tracked", "task_shares", "seen", "steps")
    rescales = True
    shardable = True

    beta: float = hyper(0.5, gt=0, le=1, help="how fast the tracked gradients follow")
    gamma: float = hyper(
        0.1, ge=0, search=(0.01, 1, "log"), help="step size of the weights, in units of the mean squared norm"
    )
    beta_decay: float = hyper(0.5, ge=0, help="beta is divided by t^beta_decay")
    gamma_decay: float = hyper(0.5, ge=0, help="gamma is divided by t^gamma_decay")
    rho: float = hyper(0.0, ge=0, help="pull of the weights towards uniform")
    normalize: Literal["none", "loss"] = hyper("none", help="loss: track l_k g_k / |g_k|")
    reset_on_episode: bool = reset_field()

    def init_state(self) -> None:
        self.tracked: Tensor | None = None
        self.task_shares = np.full(self.num_tasks, 1.0 / self.num_tasks)
        self.seen, self.steps = np.zeros(self.num_tasks), 0

    def combine_gradients(self, gradients: Tensor, losses: np.ndarray) -> Tensor:
        if self.tracked is None:
            self.tracked = gradients.new_zeros(self.num_tasks, gradients.shape[1])
        self.seen[self.tasks] += 1
        self.steps += 1
        follow = self.beta / self.seen[self.tasks] ** self.beta_decay
        for k, gradient, b, factor in zip(self.tasks, gradients, follow, self._factors(gradients, losses), strict=True):
            self.tracked[k].mul_(1 - b).add_(gradient, alpha=float(b * factor))
        rows = self.tracked if len(self.tasks) == self.num_tasks else self.tracked[self.tasks]
        weights = self._weights(rows)
        self.set_report(weights)
        return rows.t().mv(torch.as_tensor(weights, dtype=rows.dtype, device=rows.device))

    def _factors(self, gradients: Tensor, losses: np.ndarray) -> np.ndarray:
        """What each gradient is multiplied by before it is tracked."""
        if self.normalize == "none":
            return np.ones(len(gradients))
        gram, scale = gram_matrix(gradients, self.reduce_sum, self.reduce_max)
        norms = np.sqrt(np.diag(gram)) * np.sqrt(scale)
        return np.divide(positive_losses(losses), norms, out=np.zeros_like(norms), where=norms > 0)

    def _weights(self, rows: Tensor) -> np.ndarray:
        """The new shares of the present tasks among themselves; together they keep what they had."""
        before = self.task_shares[self.tasks]
        mass = before.sum()
        within = before / mass if mass > 0 else np.full(len(before), 1.0 / len(before))
        gram, _ = gram_matrix(rows, self.reduce_sum, self.reduce_max)
        size = np.trace(gram) / len(gram)
        if size > 0:
            pull = gram / size + self.rho * np.eye(len(gram))
            rate = self.gamma / np.float64(self.steps) ** self.gamma_decay
            within = project_to_simplex(within - rate * (pull @ within))
            self.task_shares[self.tasks] = within * mass
        return within * self.step_mass(self.task_shares)
