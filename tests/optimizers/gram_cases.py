"""Gradients that are hard for Gram methods, and the peer library they are compared with."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mtbench.optim.contract import MultitaskOptimizer

FAMILIES = ("random", "near_parallel", "opposed", "rank_deficient", "tiny")


def family(name: str, seed: int, num_tasks: int = 4, size: int = 30) -> Tensor:
    """Gradients (num_tasks, size) in float64 of one of the kinds in ``FAMILIES``."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(num_tasks, size)) * rng.uniform(0.5, 2, size=(num_tasks, 1))
    if name == "near_parallel":
        rows = rng.normal(size=size) + 0.05 * rows
    elif name == "opposed":
        rows[1] = -1.3 * rows[0] + 0.3 * rows[1]
    elif name == "rank_deficient":
        # the tasks still have a direction in common, so that every method has something to find
        rows = (rng.normal(size=(num_tasks, 2)) * 0.5 + [1.0, 0.0]) @ rng.normal(size=(2, size))
    elif name == "tiny":
        rows = 1e-5 * rows
    return torch.from_numpy(rows)


def start(cls: type[MultitaskOptimizer], num_tasks: int, size: int, seed: int = 0, **params: Any) -> Any:
    """An optimizer that has been started for gradients (num_tasks, size) in float64."""
    opt = cls(**params)
    opt.start(torch.ones(size, dtype=torch.float64), num_tasks=num_tasks, total_steps=100, seed=seed)
    return opt


def update(cls: type[MultitaskOptimizer], gradients: Tensor, losses: Tensor | None = None, **params: Any) -> Tensor:
    """The first update for ``gradients``; losses are 1 unless given."""
    opt = start(cls, *gradients.shape, **params)
    return opt.combine(gradients, torch.ones(len(gradients)) if losses is None else losses)


def weights(opt: MultitaskOptimizer) -> np.ndarray:
    return np.asarray(opt.report()["weights"])


def gram(gradients: Tensor) -> np.ndarray:
    rows = gradients.numpy()
    return rows @ rows.T


def peer() -> Any:
    """torchjd's aggregators; the test is skipped where the extra ``ref`` is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("torchjd.aggregation", reason="the extra 'ref' (torchjd) is not installed")


def close(ours: Tensor, theirs: Tensor, tolerance: float = 1e-9) -> None:
    """Equal up to ``tolerance``, relative to the longest entry."""
    torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance * float(theirs.abs().max()))


class FixedOrders:
    """In place of a generator: gives these permutations one after the other."""

    def __init__(self, orders: Any) -> None:
        self.orders = iter([np.asarray(o) for o in orders])

    def permutation(self, n: int) -> np.ndarray:
        return next(self.orders)
