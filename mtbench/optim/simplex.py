"""Arithmetic on one number per task that several methods share: losses that logarithms can take, and shares."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LEAST_LOSS = 1e-8
"""A loss at or below 0 counts as this share of the step's largest."""


def positive_losses(losses: np.ndarray) -> np.ndarray:
    """``losses`` (n,) as 1 / l and log l can take them: at least 1e-8 of the largest |l| (1e-8 where all are 0)."""
    largest = float(np.abs(losses).max())
    return np.maximum(losses, LEAST_LOSS * largest if largest > 0 else LEAST_LOSS)


def normalised(numbers: np.ndarray) -> np.ndarray:
    """``numbers`` (n,) >= 0 divided by their sum, however large; uniform where all are 0."""
    largest = float(numbers.max())
    if largest == 0:
        return np.full(len(numbers), 1.0 / len(numbers))
    shares: np.ndarray = numbers / largest
    return shares / shares.sum()


def log_shares(numbers: np.ndarray) -> np.ndarray:
    """Logarithms of ``numbers`` (n,) >= 0 divided by their sum; -inf for 0."""
    numbers = numbers / numbers.max()
    with np.errstate(divide="ignore"):
        logs: np.ndarray = np.log(numbers) - np.log(numbers.sum())
    return logs


def log_sum_exp(values: np.ndarray) -> float:
    """log sum exp of ``values`` (n,), without overflow; -inf where all are."""
    top = float(values.max())
    return top if top == -np.inf else top + float(np.log(np.exp(values - top).sum()))


def softmax(values: np.ndarray) -> np.ndarray:
    """Shares (n,) that sum to 1; uniform where every value is -inf."""
    total = log_sum_exp(values)
    return np.full(len(values), 1.0 / len(values)) if total == -np.inf else np.exp(values - total)


def grown(log_shares: np.ndarray, tasks: Sequence[int], growth: np.ndarray) -> np.ndarray:
    """``q * exp(growth)`` of the present ``tasks`` (n,), as new log shares (K,).

    What the present tasks held together they hold afterwards; a missing task keeps what it has.
    """
    at = list(tasks)
    before = log_shares[at]
    after = before + growth
    moved = log_shares.copy()
    if log_sum_exp(before) > -np.inf:
        moved[at] = after - log_sum_exp(after) + log_sum_exp(before)
    return moved


def project_to_simplex(point: np.ndarray) -> np.ndarray:
    """The nearest point (n,) with entries >= 0 that sum to 1 (Held, Wolfe & Crowder, 1974)."""
    ordered = np.sort(point)[::-1]
    excess = np.cumsum(ordered) - 1.0
    last = np.flatnonzero(ordered - excess / np.arange(1, len(point) + 1) > 0)[-1]
    return np.maximum(point - excess[last] / (last + 1), 0.0)


def bounded_power(values: np.ndarray, exponent: float) -> np.ndarray:
    """``values ** exponent`` (n,), at most 1e100, so that products of two stay within the range of float64."""
    with np.errstate(over="ignore"):
        powers: np.ndarray = np.minimum(values**exponent, 1e100)
    return powers
