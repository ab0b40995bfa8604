"""The multiple-gradient descent algorithm (MGDA)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.optimize import nnls

from mtbench.optim import GramWeighting, hyper


class MGDA(GramWeighting):
    """The shortest vector in the convex hull of the task gradients.

    Désidéri, "Multiple-gradient descent algorithm (MGDA) for multiobjective optimization", C. R. Acad. Sci. 2012;
    Sener & Koltun, "Multi-Task Learning as Multi-Objective Optimization", NeurIPS 2018, Eq. 3:
    w = argmin over the simplex of |sum_k w_k g_k|^2. Its negative decreases every task, or it is 0 and the point is
    Pareto-stationary.

    ``normalize`` divides, for the choice of w only, g_k by its norm (``l2``), by its loss (``loss``) or by both
    (``loss+``), as in the authors' code; the update is the weighted sum of the gradients themselves.
    A task whose gradient is 0 is stationary already, so the shortest vector is 0 (several: they share the weight): a
    task that never has a gradient (a frozen one) stops the training of all.
    """

    name = "mgda"
    summary = "the shortest vector in the convex hull of the task gradients"
    frozen_task = "with it mgda stops: the shortest vector is 0, and no task learns"
    paper = "Sener & Koltun, Multi-Task Learning as Multi-Objective Optimization, NeurIPS 2018"

    normalize: Literal["none", "l2", "loss", "loss+"] = hyper(
        "none", search=["none", "l2", "loss", "loss+"], help="what divides each gradient beforehand"
    )

    def weights_from_gram(self, gram: np.ndarray, losses: np.ndarray) -> np.ndarray:
        self.notes["solver_fallbacks"] = 0
        size = np.ones(len(gram))
        if self.normalize in ("l2", "loss+"):
            size = size * np.sqrt(np.diag(gram))
        if self.normalize in ("loss", "loss+"):
            size = size * np.abs(losses)
        size = np.where(size > 0, size, 1.0)
        try:
            return shortest(gram / np.outer(size, size))
        except RuntimeError:
            self.notes["solver_fallbacks"] = 1
            return np.full(len(gram), 1.0 / len(gram))


def shortest(gram: np.ndarray) -> np.ndarray:
    """argmin over the simplex of w' gram w, by an exact active set. RuntimeError if that does not end.

    With w = v / sum(v), the minimiser of v' gram v + (a'v - 1)^2 over v >= 0 points where the constrained one does,
    for any a > 0, and it is a non-negative least-squares problem, which Lawson and Hanson's active set solves
    exactly. It is stated in unit gradients, v_k = w_k |g_k|, so that no task is too small for the solver.
    """
    norms = np.sqrt(np.diag(gram))
    zero = norms == 0
    if zero.any():
        return zero / zero.sum()
    cosines = gram / np.outer(norms, norms)
    values, vectors = np.linalg.eigh(cosines)
    root = np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T  # root' root = cosines
    share = norms.min() / norms
    v, _ = nnls(np.vstack([root, share]), np.append(np.zeros(len(gram)), 1.0), maxiter=100 * len(gram))
    weights = v * share
    return weights / weights.sum()
