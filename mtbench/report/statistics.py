"""Evidence about methods: what seeds say, and, kept apart, what queries say about one pair of checkpoints.

Seeds carry the evidence about a method. The starred test is the paired t-test over seed-level averages
(:func:`paired_t`), corrected by Holm (1979, Scand. J. Statist. 6:65-70). The tests over queries
(:func:`crossed_test`, :func:`randomisation_test`) are returned as such and never earn a star. Every function takes
fractions of 1 and answers degenerate input (one seed, no variance, NaN, identical methods) with a reason in words
instead of a number.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import special

ALPHA = 0.05
"""Level of every test and one minus the confidence of every interval."""

Scores = Mapping[str, NDArray[np.float64]]
"""Task name -> per-query scores of one metric, (seeds, queries)."""


@dataclass(slots=True)
class Estimate:
    """A mean over seeds with its 95 % t-interval; ``reason`` says why a part is missing."""

    mean: float | None
    low: float | None = None
    high: float | None = None
    sd: float | None = None
    seeds: dict[int, float] = field(default_factory=dict)
    reason: str | None = None

    @property
    def n(self) -> int:
        """Number of seeds."""
        return len(self.seeds)


@dataclass(slots=True)
class Difference:
    """A difference with its 95 % interval and p-value; ``p`` is None where ``reason`` says why."""

    difference: float | None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_holm: float | None = None
    n: int = 0
    sd: float | None = None
    reason: str | None = None

    @property
    def star(self) -> bool:
        """Whether the corrected p-value is below :data:`ALPHA`."""
        return self.p_holm is not None and self.p_holm < ALPHA


def estimate(seeds: Mapping[int, float]) -> Estimate:
    """Mean and t-interval of one value per seed; no interval from one seed."""
    values = [float(v) for v in seeds.values()]
    if not values:
        return Estimate(None, reason="no run")
    if not all(map(math.isfinite, values)):
        return Estimate(None, seeds=dict(seeds), reason="not a number")
    mean, sd = _mean_and_sd(values)
    if len(values) == 1:
        return Estimate(mean, seeds=dict(seeds), reason="one seed: no interval")
    half = _quantile(len(values) - 1) * sd / len(values) ** 0.5
    return Estimate(mean, mean - half, mean + half, sd, dict(seeds))


def paired_t(treated: Mapping[int, float], baseline: Mapping[int, float]) -> Difference:
    """Two-sided paired t-test over the seeds that both have; the values are averages of whole runs."""
    common = sorted(set(treated) & set(baseline))
    if not common:
        return Difference(None, reason="no seed in common")
    differences = [float(treated[s] - baseline[s]) for s in common]
    if not all(map(math.isfinite, differences)):
        return Difference(None, n=len(common), reason="not a number")
    (mean, sd), n = _mean_and_sd(differences), len(common)
    if n == 1:
        return Difference(mean, n=1, reason="one seed: not testable")
    if sd <= 1e-12 * max(1.0, abs(mean)):
        if abs(mean) <= 1e-12:
            return Difference(0.0, 0.0, 0.0, 1.0, n=n, sd=0.0, reason="identical")
        return Difference(mean, n=n, sd=0.0, reason="the same difference for every seed: noise unknown")
    return _t_test(mean, sd / n**0.5, n - 1, n, sd)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjusted p-values; None stays None and does not count as a test."""
    tested = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    running = 0.0
    for rank, (p, index) in enumerate(tested):
        running = max(running, min(1.0, (len(tested) - rank) * p))
        adjusted[index] = running
    return adjusted


def correct(tests: Sequence[Difference]) -> None:
    """Fill ``p_holm`` of the tests of one family."""
    for test, adjusted in zip(tests, holm([t.p for t in tests]), strict=True):
        test.p_holm = adjusted


def tier(rows: Sequence[Mapping[int, float]]) -> list[bool | None]:
    """Of rows of values by seed: which are the best mean or cannot be told from it, by a paired t-test over seeds with
    Holm's correction.

    None where that was not tested: a row without two seeds in common with the best, and all where there is one row
    alone or the best has one seed.
    """
    found: list[bool | None] = [None] * len(rows)
    filled = [i for i, row in enumerate(rows) if row]
    best = max(filled, key=lambda i: math.fsum(rows[i].values()) / len(rows[i]), default=None)
    if best is None or len(rows[best]) < 2 or len(filled) < 2:
        return found
    others = [i for i in filled if i != best]
    tests = [paired_t(rows[i], rows[best]) for i in others]
    correct(tests)
    found[best] = True
    for i, test in zip(others, tests, strict=True):
        found[i] = None if test.p_holm is None else not test.star
    return found


def pooled_sd(tests: Sequence[Difference]) -> float | None:
    """Standard deviation of paired differences, pooled over the tests; None if none has a variance."""
    parts = [(t.sd**2 * (t.n - 1), t.n - 1) for t in tests if t.sd]
    return (sum(v for v, _ in parts) / sum(df for _, df in parts)) ** 0.5 if parts else None


def power(difference: float, sd: float, n: int) -> float:
    """Probability that a two-sided paired t-test with ``n`` seeds finds a true ``difference`` (noncentral t)."""
    if n < 2 or sd <= 0:
        return float("nan")
    shift, critical = abs(difference) / sd * n**0.5, _quantile(n - 1)
    return float(1 - special.nctdtr(n - 1, shift, critical) + special.nctdtr(n - 1, shift, -critical))


def detectable_difference(sd: float | None, n: int, wanted: float = 0.8) -> float | None:
    """The smallest true difference found with probability ``wanted`` by ``n`` seeds, None where undefined."""
    if not sd or n < 2:
        return None
    low, high = 0.0, sd
    while power(high, sd, n) < wanted:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if power(middle, sd, n) < wanted else (low, middle)
    return high


def crossed_test(treated: Scores, baseline: Scores) -> Difference:
    """Seeds and queries both random and crossed: does the difference hold for new seeds *and* new queries?

    The random-effects analysis of variance of multi-reader studies, with the degrees of freedom of Hillis (2007,
    Statistics in Medicine 26:596-619, eq. 13), applied to the macro-average over tasks: queries are independent
    between tasks, seeds are shared. NaN queries (no judgement) are left out of both systems.
    """
    differences = _differences(treated, baseline)
    if not differences:
        return Difference(None, reason="no query in common")
    seeds = min(len(d) for d in differences.values())
    by_seed = np.mean([d.mean(axis=1) for d in differences.values()], axis=0)
    mean, queries = float(by_seed.mean()), sum(d.shape[1] for d in differences.values())
    if seeds < 2:
        return Difference(mean, n=queries, reason="one seed: not testable")
    from_seeds = float(by_seed.var(ddof=1)) / seeds
    from_queries = sum(_query_variance(d) for d in differences.values()) / len(differences) ** 2
    variance = from_seeds + from_queries
    if from_seeds <= 1e-24:
        return Difference(mean, p=1.0 if abs(mean) < 1e-12 else None, n=queries, reason="no variance over seeds")
    freedom = variance**2 / (from_seeds**2 / (seeds - 1))
    return _t_test(mean, variance**0.5, freedom, queries, None)


def randomisation_test(treated: Scores, baseline: Scores, *, resamples: int = 9999, seed: int = 0) -> Difference:
    """Paired randomisation over queries of the seeds' mean scores, within tasks; the statistic is the macro-average.

    Says whether *these checkpoints* differ on new queries, nothing about the method. ``p`` is
    (1 + exceedances) / (1 + resamples), two-sided.
    """
    differences = {task: d.mean(axis=0) for task, d in _differences(treated, baseline).items()}
    if not differences:
        return Difference(None, reason="no query in common")
    observed = float(np.mean([d.mean() for d in differences.values()]))
    random = np.random.default_rng(seed)
    totals = np.zeros(resamples)
    for d in differences.values():
        changed = d[d != 0]  # a query on which both agree keeps its 0 under every flip
        if len(changed):
            totals += _flipped_sums(changed, resamples, random) / (len(d) * len(differences))
    exceeding = int((np.abs(totals) >= abs(observed) - 1e-12).sum())
    count = sum(len(d) for d in differences.values())
    return Difference(observed, p=(1 + exceeding) / (1 + resamples), n=count)


def query_t_test(treated: Scores, baseline: Scores) -> Difference:
    """Paired t-test over all queries pooled: what is often published; here only to show its error rate."""
    parts = [d.mean(axis=0) for d in _differences(treated, baseline).values()]
    values = np.concatenate(parts) if parts else np.zeros(0)
    if len(values) < 2 or values.std(ddof=1) == 0:
        return Difference(None, n=len(values), reason="no variance over queries")
    sd = float(values.std(ddof=1))
    return _t_test(float(values.mean()), sd / len(values) ** 0.5, len(values) - 1, len(values), sd)


def _mean_and_sd(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation (n - 1) of a few numbers: a table has thousands of such calls, arrays cost more."""
    mean = math.fsum(values) / len(values)
    squares = math.fsum((v - mean) ** 2 for v in values)
    return mean, (squares / (len(values) - 1)) ** 0.5 if len(values) > 1 else 0.0


def _t_test(mean: float, error: float, freedom: float, n: int, sd: float | None) -> Difference:
    half = _quantile(freedom) * error
    p = float(2 * special.stdtr(freedom, -abs(mean / error)))
    return Difference(mean, mean - half, mean + half, p, n=n, sd=sd)


@functools.lru_cache(maxsize=256)
def _quantile(freedom: float) -> float:
    return float(special.stdtrit(freedom, 1 - ALPHA / 2))


def _differences(treated: Scores, baseline: Scores) -> dict[str, NDArray[np.float64]]:
    result = {}
    for task in treated:
        if task in baseline and treated[task].shape == baseline[task].shape:
            difference = treated[task] - baseline[task]
            difference = difference[:, np.isfinite(difference).all(axis=0)]
            if difference.size:
                result[task] = difference
    return result


def _query_variance(d: NDArray[np.float64]) -> float:
    """(MS_queries - MS_residual) / (seeds * queries) of one task, not below 0; ``d`` is (seeds, queries)."""
    seeds, queries = d.shape
    if queries < 2:
        return 0.0
    by_query = d.mean(axis=0)
    residual = d - by_query - d.mean(axis=1, keepdims=True) + d.mean()
    mean_square_residual = float((residual**2).sum()) / ((seeds - 1) * (queries - 1))
    return max(0.0, seeds * float(by_query.var(ddof=1)) - mean_square_residual) / (seeds * queries)


def _flipped_sums(values: NDArray[np.float64], count: int, random: np.random.Generator) -> NDArray[np.float64]:
    """``count`` sums of ``values`` with random signs, in pieces of at most 32 MB."""
    sums, total, step = np.empty(count), values.sum(), max(1, 2**25 // len(values))
    for start in range(0, count, step):
        rows = min(step, count - start)
        bits = np.unpackbits(random.integers(0, 256, (rows, -(-len(values) // 8)), dtype=np.uint8), axis=1)
        sums[start : start + rows] = total - 2 * (bits[:, : len(values)].astype(np.float32) @ values)
    return sums
