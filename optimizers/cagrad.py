"""Conflict-averse gradient descent (CAGrad)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.optimize import minimize, nnls

from mtbench.optim import GramWeighting, PerTask, hyper, preference_field

GOOD, ENOUGH = 1e-9, 1e-5
"""Certified distance to the optimum, relative to the largest term, at which the search stops early or succeeds."""
MANY = 16
"""The largest number of tasks that SLSQP is for; its time grows with the fourth power of it, or so."""
STATIONARY = 1e-7
"""Squares are known to 1e-16 of the largest, so vectors that are shorter than this, relatively, have no direction."""
PROJECTIONS = 40
"""Enough for bisection to narrow the level down to 1e-12 of its range; five are usual."""


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
    certifies. Of more than 16 tasks, for which that takes seconds, the primal is solved instead, by a few projections
    of g_0 (:meth:`Dual.project`), to the same optimum. A search that ends farther away than 1e-5 is counted in
    ``solver_fallbacks`` and its best point used.
    """

    name = "cagrad"
    summary = "near the mean gradient, the direction best for the task served least"
    paper = "Liu et al., Conflict-Averse Gradient Descent, NeurIPS 2021"
    rescales = True

    c: float = hyper(
        0.4, ge=0, search=(0.1, 0.9, "linear"), help="radius of the ball around the mean gradient, in units of its norm"
    )
    preference: PerTask = preference_field()

    def weights_from_gram(self, gram: np.ndarray, losses: np.ndarray) -> np.ndarray:
        n = len(gram)
        preferences = self.preferences()
        mean = preferences / n
        self.notes["solver_fallbacks"] = 0
        radius = self.c * np.sqrt(max(mean @ gram @ mean, 0.0))
        if radius == 0:
            return mean / (1 + self.c**2)
        dual = Dual(gram, float(radius), preferences)
        w, gap = dual.solve() if n <= MANY else dual.project()
        self.notes["solver_fallbacks"] = int(gap > ENOUGH)
        length = np.sqrt(max(w @ gram @ w, 0.0))
        pull = radius / length if not dual.is_stationary(w) else 0.0
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

    def is_stationary(self, w: np.ndarray) -> bool:
        """Whether g_w is 0 but for rounding: then no update improves all tasks."""
        return self.length(w) <= STATIONARY * float(np.sqrt(w @ np.diag(self.gram)))

    def project(self) -> tuple[np.ndarray, float]:
        """The minimiser and its gap, by way of the primal: the largest t for which some u with <g_k, u> >= t for all k
        lies within the radius of g_0.

        The nearest such u for a given t is a least-distance problem, which is one of non-negative least squares
        (Lawson & Hanson, 1974, chapter 23) with the exact active set of their method; its multipliers are w but for
        their sum. On the tasks that hold a projection its squared distance is a quadratic in t: that gives the next
        t, or bisection where it leads outside.
        """
        best, best_gap = np.full(len(self.gram), 1.0 / len(self.gram)), np.inf
        stationary = self._shortest()
        if self.is_stationary(stationary) and self._projection(0.0)[1] <= self.radius * (1 + GOOD):
            return stationary, 0.0
        low, high = self.linear.min(), (self.linear + self.radius * np.sqrt(np.diag(self.gram))).min()
        t = (low + high) / 2
        for _ in range(PROJECTIONS):
            multipliers, distance = self._projection(t)
            w = multipliers / (multipliers.sum() or 1.0)
            for found in (w, self.polish(w)) if w.any() else ():
                gap = self.gap(found)
                if gap < best_gap:
                    best, best_gap = found, gap
                if self._is_sharp(best, best_gap):
                    return best, best_gap
            if not low < t < high:
                break
            low, high = (low, t) if distance > self.radius else (t, high)
            following = self._level(np.flatnonzero(w))
            t = following if low < following < high else (low + high) / 2
        return best, best_gap

    def _is_sharp(self, w: np.ndarray, gap: float) -> bool:
        """Whether ``gap`` is small against the objective's terms at ``w`` itself, or but rounding."""
        terms = (abs(float(self.linear @ w)) + self.radius * self.length(w)) / self.size
        return gap < max(GOOD * terms, 1e-15)

    @cached_property
    def _units(self) -> np.ndarray:
        """The gradients' norms, so that no task is too small for a solver; something for those without one."""
        norms = np.sqrt(np.diag(self.gram))
        units: np.ndarray = np.where(norms > 0, norms, norms.max())
        return units

    @cached_property
    def _root(self) -> np.ndarray:
        """R (K, K) with R'R the Gram matrix of the gradients in those units."""
        values, vectors = np.linalg.eigh(self.gram / np.outer(self._units, self._units))
        root: np.ndarray = np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T
        return root

    def _nonnegative(self, last_row: np.ndarray) -> np.ndarray:
        """argmin |R v|^2 + (last_row . v - 1)^2 over v >= 0."""
        rows, target = np.vstack([self._root, last_row]), np.append(np.zeros(len(last_row)), 1.0)
        try:
            v: np.ndarray = nnls(rows, target, maxiter=100 * len(last_row))[0]
        except RuntimeError:
            return np.zeros(len(last_row))
        return v

    def _shortest(self) -> np.ndarray:
        """The w of the shortest g_w over the simplex; see ``mgda``."""
        share = self._units.min() / self._units
        w = self._nonnegative(share) * share
        return w / w.sum() if w.sum() > 0 else np.full(len(w), 1.0 / len(w))

    def _projection(self, t: float) -> tuple[np.ndarray, float]:
        """The multipliers (n,), of any sum, of the u nearest to g_0 with <g_k, u> >= t for all k, and its distance."""
        needed = (t - self.linear) / self._units
        scale = float(np.abs(needed).max()) or 1.0
        v = self._nonnegative(needed / scale)
        left = 1.0 - float(needed @ v) / scale
        reach = float(np.linalg.norm(self._root @ v))
        return v / self._units, reach * scale / left if left > 0 else np.inf

    def _level(self, face: np.ndarray) -> float:
        """The t at which the projection that the tasks in ``face`` hold is as far from g_0 as the radius; or NaN."""
        inner, linear = self.gram[np.ix_(face, face)], self.linear[face]
        try:
            ones, others = np.linalg.solve(inner, np.stack([np.ones(len(face)), linear], axis=1)).T
        except np.linalg.LinAlgError:
            return np.nan
        a, b, c = ones.sum(), others.sum(), linear @ others - self.radius**2
        discriminant = b * b - a * c
        return float((b + np.sqrt(discriminant)) / a) if a > 0 and discriminant >= 0 else np.nan
