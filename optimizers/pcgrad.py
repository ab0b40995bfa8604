"""Projecting conflicting gradients (PCGrad, "gradient surgery")."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from mtbench.optim import GramWeighting, hyper


class PCGrad(GramWeighting):
    """Each task's gradient loses its component against every task it conflicts with; the results are averaged.

    Yu et al., "Gradient Surgery for Multi-Task Learning", NeurIPS 2020, Algorithm 1. For each task i, over the
    other tasks j in random order: if P_i . g_j < 0 then P_i <- P_i - (P_i . g_j / |g_j|^2) g_j, where P_i is the
    running gradient (at first g_i) and g_j always the original one.

    Every P_i is a combination of the rows, P_i = sum_k c_ik g_k, so the coefficients and the Gram matrix suffice.
    The paper sums the P_i; here they are averaged (``scale="sum"`` for the paper's size). Rows of zeros conflict with
    nothing. ``compat="taco"`` is what the code of Zhang et al. (TACL 2023) does: the mean, and each task visits
    itself too, which undoes part of earlier projections where they turned P_i against g_i.
    """

    name = "pcgrad"
    summary = "removes from each task's gradient what conflicts with another's"
    paper = "Yu et al., Gradient Surgery for Multi-Task Learning, NeurIPS 2020"
    random = True

    include_self: bool = hyper(False, help="let a task visit itself too, as several public codes do")
    compat: Literal["none", "taco"] = hyper("none", help="taco: what the authors' code does (include_self)")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.compat == "taco":
            self.include_self = True

    def weights_from_gram(self, gram: np.ndarray, losses: np.ndarray) -> np.ndarray:
        n = len(gram)
        orders = [self.generator.permutation(n) for _ in range(n)]
        coefficients, projections = projected_coefficients(gram, orders, self.include_self)
        self.notes["projections"] = projections
        return coefficients.mean(axis=0)


def projected_coefficients(
    gram: np.ndarray, orders: Sequence[Sequence[int] | np.ndarray], include_self: bool
) -> tuple[np.ndarray, int]:
    """The coefficients (n, n) of the projected gradients, one row each, and how many projections there were.

    ``orders[i]`` is the order in which task i visits the tasks.
    """
    coefficients = np.eye(len(gram))
    projections = 0
    for i, order in enumerate(orders):
        for j in order:
            if j == i and not include_self:
                continue
            product = gram[j] @ coefficients[i]
            if product < 0:
                coefficients[i, j] -= product / gram[j, j]
                projections += 1
    return coefficients, projections
