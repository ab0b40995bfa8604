"""Nash-MTL: the bargaining equations, a peer, and where the peer's solver stays at its start."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from gram_cases import FAMILIES, close, family, gram, peer, start, update, weights

from optimizers.nash import Nash, bargain


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", FAMILIES)
def test_every_task_gains_the_same(kind: str, seed: int) -> None:
    """alpha_k <g_k, u> = 1 for all k, |u|^2 = K, in the gradients' own scale."""
    gradients = family(kind, seed)
    opt = start(Nash, 4, 30, max_norm=0.0)
    u = opt.combine(gradients, torch.ones(4))
    assert (weights(opt) > 0).all()
    np.testing.assert_allclose(weights(opt) * (gradients @ u).numpy(), 1.0, rtol=1e-4)
    assert float(u @ u) == pytest.approx(4.0, rel=1e-4)
    assert opt.report()["solver_fallbacks"] == 0


@pytest.mark.parametrize("max_norm", [0.5, 1.0, 5.0])
def test_the_norm_is_clipped(max_norm: float) -> None:
    u = update(Nash, family("random", 0) * 1e-7, max_norm=max_norm)
    assert float(u.norm()) == pytest.approx(min(max_norm, 2.0), rel=1e-6)


@pytest.mark.parametrize("kind", ["near_parallel", "rank_deficient"])
def test_agrees_with_torchjd_where_its_solver_works(kind: str) -> None:
    torchjd = peer()
    gradients = family(kind, 0, num_tasks=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = torchjd.NashMTL(n_tasks=3)(gradients)
    close(update(Nash, gradients), theirs, 2e-3)


def test_random_gradients_where_the_peer_stops_short() -> None:
    """Its sequence of convex programs ends away from the solution; ours meets the bargaining equations."""
    torchjd = peer()
    gradients = family("random", 0, num_tasks=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        alpha = torchjd.NashMTL(n_tasks=3, max_norm=0.0).weighting(gradients).numpy()
    assert np.abs(alpha * (gram(gradients) @ alpha) - 1).max() > 0.01
    opt = start(Nash, 3, 30, max_norm=0.0)
    opt.combine(gradients, torch.ones(3))
    np.testing.assert_allclose(weights(opt) * (gram(gradients) @ weights(opt)), 1.0, rtol=1e-8)


def test_conflict_where_the_peer_stays_at_the_plain_sum() -> None:
    """One task conflicts with the sum: torchjd's first sub-problem is unbounded, and it returns alpha = 1."""
    torchjd = peer()
    gradients = torch.tensor([[3.0, 0.2, 0.0], [-1.0, 0.5, 0.1], [2.0, 0.3, -0.4]], dtype=torch.float64) * 1e-5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = torchjd.NashMTL(n_tasks=3)(gradients)
    close(theirs, gradients.sum(0) / max(1.0, float(gradients.sum(0).norm())), 1e-6)
    ours = update(Nash, gradients)
    assert (gradients @ theirs).min() < 0 < (gradients @ ours).min()


@pytest.mark.parametrize("seed", range(3))
def test_bargain_solves_the_equation(seed: int) -> None:
    rows = np.random.default_rng(seed).normal(size=(8, 40))
    matrix = gram(torch.from_numpy(rows / np.linalg.norm(rows, axis=1, keepdims=True)))
    beta, converged = bargain(matrix)
    assert converged
    np.testing.assert_allclose(beta * (matrix @ beta), 1.0, rtol=1e-8)


def test_stationary_points_give_a_short_update_and_no_failure() -> None:
    g = family("random", 0)[0]
    opt = start(Nash, 2, 30)
    u = opt.combine(torch.stack([g, -3 * g]), torch.ones(2))
    assert u.norm() < 1e-3
    assert opt.report()["solver_fallbacks"] == 0


def test_a_task_without_gradient_takes_no_part() -> None:
    gradients = family("random", 0)
    gradients[2] = 0
    close(update(Nash, gradients), update(Nash, gradients[[0, 1, 3]]), 1e-9)


def test_a_failed_solver_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(matrix: Any, powers: np.ndarray) -> Any:
        return np.ones(len(matrix)), False

    monkeypatch.setattr("optimizers.nash.bargain", fail)
    opt = start(Nash, 4, 30)
    opt.combine(family("random", 0), torch.ones(4))
    assert opt.report()["solver_fallbacks"] == 1
