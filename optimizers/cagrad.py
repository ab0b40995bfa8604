"""Conflict-averse gradient descent (CAGrad)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.optimize import minimize

from mtbench.optim import GramWeighting, PerTask, hyper, preference_field

GOOD, ENOUGH = 1e-9, 1e-5
"""Certified distance to the optimum, relative to the largest term, at which the search stops early or succeeds."""


class CAGrad(GramWeighting):
    """The direction near the mean gradient that does most for the task it serves least.

    Liu et al., "Conflict-Averse Gradient Descent for Multi-task Learning", NeurIPS 2021, Eq. 3 and Algorithm 1:
    maximise min_k <g_k, u> subject to |u - g_0| <= c |g_0|, where g_0 is the mean, weighted by
    the ``preference`` if there is one. The dual is over the simplex,

        w = argmin  g_w . g_0 + c |g_0| |g_w|,   g_w = sum_k w_k g_k,
        u = (g_0 + c |g_0| g_w / |g_w|) / (1 + c^2),

    where the divisor is the authors' default (``rescale=1``), so identical gradients g give g (1 + c) / (1 + c^2).
    c = 0 is the mean; below 1 the method converges to a minimum of the mean loss. Where g_w is 0 the tasks cannot
    all improve and u is g_0 / (1 + c^2).

    The dual is convex: SLSQP from several starts, judged by the distance to the optimum that the gradient
    certifies. A search that ends farther away than 1e-5 is counted in ``solver_fallbacks`` and its best point used.
    """

    name = "cagrad"
    summary = "near the mean gradient, the direction best for the task served least"
    paper = "Liu et al., Conflict-Averse Gradient Descent, NeurIPS 2021"
    rescales = True

    c: float = hyper(0.4, ge=0, help="radius of the ball around the mean gradient, in units of its norm")
    preference: PerTask = preference_field()

    def weights_from_gram(self, gram: np.ndarray, losses: np.ndarray) -> np.ndarray:
        n = len(gram)
        preferences = self.preferences()
        mean = preferences / n
        self.notes["solver_fallbacks"] = 0
        radius = self.c * np.sqrt(max(mean @ gram @ mean, 0.0))
        if radius == 0:
            return mean / (1 + self.c**2)
        w, gap = Dual(gram, float(radius), preferences).solve()
        self.notes["solver_fallbacks"] = int(gap > ENOUGH)
        length = np.sqrt(max(w @ gram @ w, 0.0))
        # squares are known to 1e-16 of the largest, so shorter vectors than that have no direction
        pull = radius / length if length > 1e-7 * np.sqrt(w @ np.diag(gram)) else 0.0
        return (mean + pull * w) / (1 + self.c**2)


@dataclass(frozen=True)
class Dual:
    """mean' gram w + radius sqrt(w' gram w), to be minimised over the simplex; the mean is over the ``preferences``."""

    gram: np.ndarray
    radius: float
    preferences: np.ndarray | None = None
    """Of mean 1 (n,); None: all 1."""

    @cached_property
    def linear(self) -> np.ndarray:
        rows = self.gram if self.preferences is None else self.gram * self.preferences[:, None]
        return rows.mean(axis=0)

    @cached_property
    def size(self) -> float:
        """The largest that the objective's terms can be; values and slopes are in units of it."""
        return float(np.abs(self.linear).max() + self.radius * np.sqrt(np.diag(self.gram).max()))

    def length(self, w: np.ndarray) -> float:
        return float(np.sqrt(max(w @ self.gram @ w, 0.0)))

    def value(self, w: np.ndarray) -> float:
        return float(self.linear @ w + self.radius * self.length(w)) / self.size

    def slope(self, w: np.ndarray) -> np.ndarray:
        slope: np.ndarray = (self.linear + self.radius * (self.gram @ w) / max(self.length(w), 1e-150)) / self.size
        return slope

    def gap(self, w: np.ndarray) -> float:
        """By convexity no point of the simplex lies lower than ``value(w) - gap(w)``."""
        slope = self.slope(w)
        return float(slope @ w - slope.min())

    def search(self, start: np.ndarray) -> np.ndarray:
        """SLSQP from ``start``; back on the simplex."""
        ones = np.ones(len(start))
        found = minimize(
            self.value,
            start,
            jac=self.slope,
            method="SLSQP",
            bounds=[(0.0, 1.0)] * len(start),
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1.0, "jac": lambda w: ones},
            options={"ftol": 1e-15, "maxiter": 200},
        )
        w = np.maximum(found.x, 0.0)
        return w / w.sum()

    def polish(self, w: np.ndarray) -> np.ndarray:
        """Newton steps on the face of the simplex where ``w`` lies, as long as they bring the gap down."""
        face = np.flatnonzero(w > 1e-6)
        for _ in range(5):
            length = self.length(w)
            if self.gap(w) < 1e-15 or length == 0:
                break
            pull = (self.gram @ w)[face]
            hessian = self.gram[np.ix_(face, face)] / length - np.outer(pull, pull) / length**3
            system = np.block([[hessian * self.radius / self.size, np.ones((len(face), 1))], [np.ones(len(face)), 0.0]])
            step = np.linalg.lstsq(system, np.append(-self.slope(w)[face], 0.0), rcond=None)[0][:-1]
            tried = np.zeros_like(w)
            tried[face] = np.maximum(w[face] + step, 0.0)
            if not tried.sum() > 0 or not self.gap(tried / tried.sum()) < self.gap(w):
                break
            w = tried / tried.sum()
        return w

    def solve(self) -> tuple[np.ndarray, float]:
        """The minimiser and its gap: the best of searches from the middle and from near each corner."""
        n = len(self.gram)
        best, best_gap = np.full(n, 1.0 / n), np.inf
        for start in [best, *(0.9 * np.eye(n) + 0.1 / n)]:
            w = self.polish(self.search(start))
            gap = self.gap(w)
            if gap < best_gap:
                best, best_gap = w, gap
            if best_gap < GOOD:
                break
        return best, best_gap
