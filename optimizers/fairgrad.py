"""Fair resource allocation in multi-task learning (FairGrad)."""

from __future__ import annotations

import numpy as np

from mtbench.optim import GramWeighting, hyper

RIDGE = 1e-12
TOLERANCE = 1e-12
ENOUGH = 1e-3
"""Where opposed tasks leave no solution the ridge alone stops v, near RIDGE^(-alpha / (1 + alpha)), and rounding there
leaves the equation open by 1e-4."""
MOST_STEPS = 200


class FairGrad(GramWeighting):
    """alpha-fair shares of the progress: 1 is Nash-MTL's proportional fairness, larger values help the worst off.

    Ban & Ji, "Fair Resource Allocation in Multi-Task Learning", ICML 2024, Eq. 4 and Algorithm 1:
    u = sum_k w_k g_k with w > 0 and M w = w^(-1/alpha), M the Gram matrix. w is the unique minimiser of the strictly
    convex w'Mw / 2 - sum_k phi(w_k), phi = log for alpha = 1, else w^(1 - 1/alpha) / (1 - 1/alpha), which damped
    Newton finds.

    Scaling all gradients by c scales u by c^((1 - alpha) / (1 + alpha)), so the length says little and is clipped to
    ``max_norm`` (the authors multiply by K and clip at 1). Tasks without a gradient take no part; all-zero gradients:
    uniform weights. Exactly opposed tasks have no solution: a ridge of 1e-12 keeps w finite there, and u short.

    The authors' code, LibMTL and torchjd call a bounded least squares solver on the raw M from w = 1/K: right for
    norms above 0.01, wrong without a word near 0.001. Solved here in unit gradients, at every scale alike.
    """

    name = "fairgrad"
    summary = "alpha-fair shares of the progress (1: Nash, larger: the worst off first)"
    paper = "Ban & Ji, Fair Resource Allocation in Multi-Task Learning, ICML 2024"
    rescales = True

    alpha: float = hyper(
        2.0,
        ge=0.25,
        le=100,
        search=[0.5, 1.0, 2.0, 5.0],
        help="fairness: 1 proportional, large values help the worst off",
    )
    max_norm: float = hyper(1.0, ge=0, help="largest norm of the update; 0 leaves it")

    def weights_from_gram(self, gram: np.ndarray, losses: np.ndarray) -> np.ndarray:
        self.notes["solver_fallbacks"] = 0
        norms = np.sqrt(np.diag(gram))
        some = norms > 0
        if not some.any():
            return np.full(len(gram), 1.0 / len(gram))
        sizes = norms[some]
        cosines = gram[np.ix_(some, some)] / np.outer(sizes, sizes)
        # w_k = v_k / |g_k| in the scaled gradients; what the scale itself does to v is a power of it
        shares, converged = fair_shares(cosines, sizes ** (1 / self.alpha - 1), self.alpha)
        self.notes["solver_fallbacks"] = int(not converged)
        unit = np.sqrt(self.gram_scale) ** ((1 - self.alpha) / (1 + self.alpha))
        length = np.sqrt(max(shares @ cosines @ shares, 0.0)) * unit
        self.notes["norm"] = float(length)
        if self.max_norm and length > self.max_norm:
            shares = shares * (self.max_norm / length)
        weights = np.zeros(len(gram))
        weights[some] = shares * unit / (sizes * np.sqrt(self.gram_scale))
        return weights


def fair_shares(cosines: np.ndarray, stakes: np.ndarray, alpha: float) -> tuple[np.ndarray, bool]:
    """The positive solution v (n,) of C v = stakes * v^(-1/alpha), and whether Newton got there.

    ``cosines`` C (n, n): the Gram matrix of unit vectors; ``stakes`` (n,) > 0.
    """
    n = len(cosines)
    matrix = cosines + RIDGE * np.eye(n)
    top = stakes.max()  # v scales with top^(alpha / (1 + alpha))
    stakes = stakes / top
    v = stakes ** (alpha / (1 + alpha))  # the solution for orthogonal tasks
    power = 1 - 1 / alpha

    def value(x: np.ndarray) -> float:
        gains = np.log(x) if power == 0 else x**power / power
        return float(0.5 * x @ matrix @ x - stakes @ gains)

    best, left = v, np.inf
    for _ in range(MOST_STEPS):
        # in relative steps: v (1 - delta), so that tasks of all sizes are solved to the same digits
        gains = stakes * v**power
        slope = v * (matrix @ v) - gains
        open_by = float(np.abs(slope / gains).max())
        if open_by < left:
            best, left = v, open_by
        if open_by < TOLERANCE:
            break
        curvature = matrix * np.outer(v, v) + np.diag(gains / alpha)
        size_of = np.sqrt(np.diag(curvature))
        delta = np.linalg.solve(curvature / np.outer(size_of, size_of), slope / size_of) / size_of
        size = min(1.0, 0.95 / max(delta.max(), 1e-300))
        now, falls = value(v), float(slope @ delta)
        while value(v * (1 - size * delta)) > now - 1e-4 * size * falls + 1e-15 * abs(now) and size > 1e-12:
            size /= 2
        v = v * (1 - size * delta)
        if falls < 1e-30 * (1 + abs(now)):
            break
    return best * top ** (alpha / (1 + alpha)), left < ENOUGH
