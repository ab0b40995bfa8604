"""Common gradient descent (CGD): task weights that follow what helps the other tasks."""

from __future__ import annotations

from typing import Literal

import numpy as np

from mtbench.errors import ConfigError
from mtbench.optim import GramWeighting, hyper, reset_field
from mtbench.optim.simplex import bounded_power

NORM_FLOOR = 1e-3
"""Smallest product of two norms in a cosine, as a share of the largest squared norm. The official code has 1e-3 as an
absolute number; as a share it changes nothing when all gradients are scaled."""


class CGD(GramWeighting):
    """Weights that grow by exponentiated gradient for the tasks whose gradients decrease the others' losses.

    Piratla et al., "Focus on the Common Good: Group Distributional Robustness Follows", ICLR 2022, Algorithm 1:
    with C_ij = cos(g_i, g_j) and p the prior shares,

        w_i <- w_i exp(step * sum_j (l_i l_j)^loss_power C_ij p_j),   w <- max(w / sum w, floor),

    and the same step already uses the new w. p_k is proportional to exp(prior / sqrt(N_k)) and w starts at p.

    ``rule="taco"`` is the variant in the code of Zhang et al. (TACL 2023): w <- softmax(r / tau + log w) with
    r_i = sum_j (l_i l_j)^loss_power C_ij, no prior, no floor. ``normalize=False`` takes <g_i, g_j> for C_ij, which
    is the only choice here whose result depends on the gradients' absolute size. ``compat="taco"`` sets rule taco,
    loss_power 0.25 and tau 100; unlike that code, losses are averaged over ranks, so weights cannot drift apart.

    A negative loss counts as 0 (the square root of the product has no meaning there). In a step without some task
    the present tasks share what they had together, and the missing one keeps its weight.
    """

    name = "cgd"
    summary = "weights follow the loss-weighted cosines between the tasks' gradients"
    paper = "Piratla et al., Focus on the Common Good, ICLR 2022"
    state = ("log_weights",)

    rule: Literal["official", "taco"] = hyper("official", help="update rule of the weights")
    step: float = hyper(0.05, gt=0, search=(0.005, 0.5, "log"), help="step size of the weights (rule official)")
    prior: float = hyper(0.0, ge=0, help="C of the prior exp(C / sqrt(N_k)); needs task_sizes when not 0")
    floor: float = hyper(1e-5, ge=0, lt=1, help="smallest weight (rule official)")
    loss_power: float = hyper(0.5, ge=0, help="exponent on l_i l_j")
    tau: float = hyper(100.0, gt=0, help="temperature (rule taco)")
    normalize: bool = hyper(True, help="cosines rather than inner products")
    compat: Literal["none", "taco"] = hyper("none", help="taco: rule taco, loss_power 0.25, tau 100")
    reset_on_episode: bool = reset_field()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.compat == "taco":
            self.rule, self.loss_power, self.tau = "taco", 0.25, 100.0

    def init_state(self) -> None:
        self.log_weights = np.log(self._prior_shares())

    def _prior_shares(self) -> np.ndarray:
        shares = np.ones(self.num_tasks)
        if self.prior and self.rule == "official":
            if self.task_sizes is None:
                raise ConfigError(f"cgd: prior={self.prior:g} needs task_sizes in start()")
            exponent = self.prior / np.sqrt(np.asarray(self.task_sizes, dtype=np.float64))
            shares = np.exp(exponent - exponent.max())
        return shares / shares.sum()

    def weights_from_gram(self, gram: np.ndarray, losses: np.ndarray) -> np.ndarray:
        before = self.log_weights[self.tasks]
        log_share = _logsumexp(before) - _logsumexp(self.log_weights)  # 0 unless a task is missing
        affinity = self._affinity(gram, losses)
        if self.rule == "official":
            prior = self._prior_shares()[self.tasks]
            growth = self.step * (affinity @ (prior / prior.sum()))
        else:
            growth = affinity.sum(axis=1) / self.tau
        after = before + growth
        after = after - _logsumexp(after) + log_share
        if self.rule == "official" and self.floor > 0:
            after = np.maximum(after, np.log(self.floor))
        self.log_weights[self.tasks] = after
        weights = np.exp(after - log_share)
        positive = weights[weights > 0]
        self.notes["entropy"] = float(-(positive * np.log(positive)).sum())
        return weights * self.step_mass(np.exp(self.log_weights - _logsumexp(self.log_weights)))

    def _affinity(self, gram: np.ndarray, losses: np.ndarray) -> np.ndarray:
        """(l_i l_j)^loss_power C_ij."""
        if self.normalize:
            norms = np.sqrt(np.diag(gram))
            smallest = NORM_FLOOR * norms.max() ** 2 if self.rule == "official" else 0.0
            products = np.maximum(np.outer(norms, norms), smallest)
            closeness = np.divide(gram, products, out=np.zeros_like(gram), where=products > 0)
        else:
            closeness = gram * self.gram_scale
        powers = bounded_power(np.maximum(losses, 0.0), self.loss_power)
        return np.outer(powers, powers) * closeness


def _logsumexp(values: np.ndarray) -> float:
    top = values.max()
    return float(top + np.log(np.exp(values - top).sum()))
