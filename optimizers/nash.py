"""Multi-task learning as a bargaining game (Nash-MTL)."""

from __future__ import annotations

import numpy as np

from mtbench.optim import GramWeighting, PerTask, hyper, preference_field

RIDGE = 1e-10
TOLERANCE = 1e-10
ENOUGH = 1e-3
"""At a stationary point beta is near RIDGE^(-1/2), where rounding alone leaves M beta = 1 / beta open by 1e-6."""


class Nash(GramWeighting):
    """The Nash bargaining solution: every task gains the same, relative to its own stake.

    Navon et al., "Multi-Task Learning as a Bargaining Game", ICML 2022, Claim 3.1 and Algorithm 1:
    u = sum_k alpha_k g_k with alpha > 0 and M alpha = 1 / alpha, M the Gram matrix. Then <u, g_k> = 1 / alpha_k > 0:
    no task loses. alpha is the unique minimiser of the strictly convex alpha' M alpha / 2 - sum log alpha, which
    damped Newton finds in a few iterations; the authors' sequence of convex programs can stay at alpha = 1, which is
    the plain sum, without saying so.

    With a ``preference`` p, of sum 1, M alpha = K p / alpha: the bargaining powers of the asymmetric solution.

    |u|^2 = K always, so the update has a constant length and is then clipped to ``max_norm``: only its direction is
    learned from the gradients. At a Pareto-stationary point there is no solution; a ridge of 1e-10 keeps alpha
    finite there, and u short. Tasks without a gradient take no part; all-zero gradients: uniform weights.
    """

    name = "nash"
    summary = "the Nash bargaining solution: equal relative gains, constant length"
    paper = "Navon et al., Multi-Task Learning as a Bargaining Game, ICML 2022"
    rescales = True

    max_norm: float = hyper(1.0, ge=0, help="largest norm of the update; 0 leaves it at sqrt(K)")
    preference: PerTask = preference_field(gt=0)

    def weights_from_gram(self, gram: np.ndarray, losses: np.ndarray) -> np.ndarray:
        self.notes["solver_fallbacks"] = 0
        norms = np.sqrt(np.diag(gram))
        some = norms > 0
        if not some.any():
            return np.full(len(gram), 1.0 / len(gram))
        # in unit gradients: alpha_k = beta_k / |g_k|
        cosines = gram[np.ix_(some, some)] / np.outer(norms[some], norms[some])
        powers = self.preferences()[some]
        beta, converged = bargain(cosines, powers / powers.mean())
        self.notes["solver_fallbacks"] = int(not converged)
        length = np.sqrt(max(beta @ cosines @ beta, 0.0))
        self.notes["norm"] = float(length)
        if self.max_norm and length > self.max_norm:
            beta = beta * (self.max_norm / length)
        alpha = np.zeros(len(gram))
        alpha[some] = beta / (norms[some] * np.sqrt(self.gram_scale))
        return alpha


def bargain(cosines: np.ndarray, powers: np.ndarray | float = 1.0) -> tuple[np.ndarray, bool]:
    """The positive solution of M beta = powers / beta for a Gram matrix of unit vectors, and whether Newton got there.

    ``powers`` (n,) > 0 have mean 1.
    """
    n, least = len(cosines), float(np.min(powers))
    matrix = cosines + RIDGE * np.eye(n)

    def value(x: np.ndarray) -> float:
        return float(0.5 * x @ matrix @ x - (powers * np.log(x)).sum())

    beta, best, left = np.ones(n), np.ones(n), np.inf
    for _ in range(100):
        slope = matrix @ beta - powers / beta
        open_by = np.abs(slope * beta / powers).max()
        step = np.linalg.solve(matrix + np.diag(powers / beta**2), slope)
        # The objective is self-concordant, in units of the least power: this near its minimum full steps converge,
        # until rounding stops them.
        near = slope @ step < 1e-2 * least
        if near and open_by >= left:
            break
        if near:
            best, left = beta, open_by
        if open_by < TOLERANCE:
            break
        size = 1.0
        while (beta - size * step <= 0).any():
            size /= 2
        while not near and value(beta - size * step) > value(beta) - 1e-4 * size * (slope @ step) and size > 1e-12:
            size /= 2
        beta = beta - size * step
    return (best, True) if left < ENOUGH else (beta, False)
