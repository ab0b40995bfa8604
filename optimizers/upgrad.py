"""Unconflicting projection of gradients (UPGrad)."""

from __future__ import annotations

import numpy as np
from scipy.optimize import nnls

from mtbench.optim import GramWeighting, PerTask, hyper, preference_field


class UPGrad(GramWeighting):
    """Each task's gradient is projected on the cone of updates that harm no task; the projections are averaged.

    Quinton & Rey, "Jacobian Descent for Multi-Objective Optimization", 2024, Proposition 1: the
    projection of g_k / K on {u : <u, g_i> >= 0 for all i} is sum_i v_i g_i with v = argmin v' M v over v >= e_k / K.
    The sum over k conflicts with no task. With a ``preference`` p, of sum 1, p_k stands for 1/K: v >= p_k e_k.

    M is divided by its trace and gets ``regularization`` on its diagonal, as in the authors' code, but is taken for
    zero only when it is zero. With R'R = M the shifted problem v = e_k / K + z, z >= 0, is a non-negative
    least-squares problem. A projection that is not found leaves that gradient as it is and is counted in
    ``solver_fallbacks``. All-zero gradients: the preferences as weights.
    """

    name = "upgrad"
    summary = "projects each task's gradient on the updates that harm no task"
    paper = "Quinton & Rey, Jacobian Descent for Multi-Objective Optimization, 2024"

    regularization: float = hyper(1e-4, gt=0, help="added to the diagonal of the Gram matrix of trace 1")
    preference: PerTask = preference_field()

    def weights_from_gram(self, gram: np.ndarray, losses: np.ndarray) -> np.ndarray:
        n = len(gram)
        shares = self.preferences() / n
        self.notes["solver_fallbacks"] = 0
        trace = np.trace(gram)
        if trace == 0:
            return shares
        root = np.linalg.cholesky(gram / trace + self.regularization * np.eye(n)).T
        weights = np.zeros(n)
        for own in np.diag(shares):
            try:
                added, _ = nnls(root, -root @ own, maxiter=100 * n)
            except RuntimeError:
                self.notes["solver_fallbacks"] += 1
                added = np.zeros(n)
            weights += own + added
        return weights
