"""Unconflicting projection of gradients (UPGrad)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.optimize import nnls

from mtbench.optim import GramWeighting, PerTask, hyper, preference_field


class UPGrad(GramWeighting):
    """Each task's gradient is projected on the cone of updates that harm no task; the projections are averaged.

    Quinton & Rey, "Jacobian Descent for Multi-Objective Optimization", 2024, Proposition 1: the
    projection of g_k / K on {u : <u, g_i> >= 0 for all i} is sum_i v_i g_i with v = argmin v' M v over v >= e_k / K.
    The sum over k, u = sum_i w_i g_i, conflicts with no task, but for the ridge that keeps the problem solvable. With a
    ``preference`` p, of sum 1, p_k stands for 1/K: v >= p_k e_k.

    As in the authors' code M is divided by its trace and gets r (``regularization``) on its diagonal, but is taken for
    zero only when it is zero. What is left of the promise then is <u, g_i> >= -r tr(M) w_i: nothing for tasks of like
    norms, but a task that is much shorter than the longest is not protected (opposed to it, cosines with the update of
    -0.3 were seen at a ratio of norms of 10, and of -0.95 at 30). ``ridge="rows"`` adds r |g_i|^2 instead, so that
    <u, g_i> >= -r |g_i|^2 w_i whatever the norms are (the same cosines: -0.004).

    With R'R = M the shifted problem v = e_k / K + z, z >= 0, is a non-negative
    least-squares problem. A projection that is not found leaves that gradient as it is and is counted in
    ``solver_fallbacks``. All-zero gradients: the preferences as weights.
    """

    name = "upgrad"
    summary = "projects each task's gradient on the updates that harm no task"
    paper = "Quinton & Rey, Jacobian Descent for Multi-Objective Optimization, 2024"

    regularization: float = hyper(1e-4, gt=0, help="added to the diagonal of the Gram matrix of trace 1")
    ridge: Literal["trace", "rows"] = hyper(
        "trace", since=2, help="rows: regularization times each task's own squared norm, for norms far apart"
    )
    preference: PerTask = preference_field()

    def weights_from_gram(self, gram: np.ndarray, losses: np.ndarray) -> np.ndarray:
        n = len(gram)
        shares = self.preferences() / n
        self.notes["solver_fallbacks"] = 0
        trace = np.trace(gram)
        if trace == 0:
            return shares
        units = np.ones(n)
        if self.ridge == "rows":  # the same problem in unit gradients: v_i |g_i| is what is looked for
            norms = np.sqrt(np.diag(gram))
            units, trace = np.where(norms > 0, norms, 1.0), 1.0
        root = np.linalg.cholesky(gram / np.outer(units, units) / trace + self.regularization * np.eye(n)).T
        weights = np.zeros(n)
        for own in np.diag(shares * units):
            try:
                added, _ = nnls(root, -root @ own, maxiter=100 * n)
            except RuntimeError:
                self.notes["solver_fallbacks"] += 1
                added = np.zeros(n)
            weights += (own + added) / units
        return weights
