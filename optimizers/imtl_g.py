"""Impartial multi-task learning on gradients (IMTL-G)."""

from __future__ import annotations

import numpy as np

from mtbench.optim import GramWeighting


class IMTLG(GramWeighting):
    """The combination whose projections on all the tasks' unit gradients are equal.

    Liu et al., "Towards Impartial Multi-task Learning", ICLR 2021, gradient balance: sum_k w_k = 1 and
    u . g_k / |g_k| the same for all k. With M the Gram matrix that is w = M^+ sqrt(diag M), divided by its sum; the
    pseudo-inverse covers linearly dependent gradients. Weights can be negative.

    Where the sum of w vanishes beside its entries there is no such combination of finite size; the mean is used and
    counted in ``solver_fallbacks`` (other codes return 0 there, which trains nothing). All-zero gradients: uniform.
    """

    name = "imtl_g"
    summary = "equal projections on every task's unit gradient"
    paper = "Liu et al., Towards Impartial Multi-task Learning, ICLR 2021"
    weighted_sum = False  # weights may be negative

    def weights_from_gram(self, gram: np.ndarray, losses: np.ndarray) -> np.ndarray:
        uniform = np.full(len(gram), 1.0 / len(gram))
        self.notes["solver_fallbacks"] = 0
        if not gram.any():
            return uniform
        weights = equal_projections(gram)
        # The largest gradient's norm is between 1 and 2 here, and so its weight is near 1 where there is a solution.
        if abs(weights.sum()) <= 1e-12 * (1.0 + np.abs(weights).sum()):
            self.notes["solver_fallbacks"] = 1
            return uniform
        return weights / weights.sum()


def equal_projections(gram: np.ndarray) -> np.ndarray:
    """gram^+ sqrt(diag gram), not normalised; tasks without a gradient get 0."""
    norms = np.sqrt(np.diag(gram))
    some = norms > 0
    cosines = gram[np.ix_(some, some)] / np.outer(norms[some], norms[some])
    weights = np.zeros(len(gram))
    # In unit gradients, so that a task with a small gradient is not mistaken for a dependent one.
    if np.linalg.matrix_rank(cosines, hermitian=True) == len(cosines):
        weights[some] = np.linalg.solve(cosines, np.ones(len(cosines))) / norms[some]
    else:
        weights = np.linalg.pinv(gram, hermitian=True) @ norms
    return weights
