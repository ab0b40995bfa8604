"""GradVac: its two equations, a peer, and its state."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gram_cases import FAMILIES, FixedOrders, close, family, gram, peer, start, update, weights
from optimizer_cases import steps_of

from optimizers.gradvac import GradVac, vaccinated
from optimizers.pcgrad import PCGrad


def test_the_corrected_gradient_has_the_target_cosine() -> None:
    gradients = family("opposed", 0, num_tasks=2)
    rho = np.array([[0.0, 0.3], [0.1, 0.0]])
    coefficients, after, corrections = vaccinated(gram(gradients), rho, [[0, 1], [0, 1]], beta=0.5)
    corrected = torch.from_numpy(coefficients) @ gradients
    for i, j in [(0, 1), (1, 0)]:
        assert torch.cosine_similarity(corrected[i], gradients[j], dim=0) == pytest.approx(rho[i, j], abs=1e-7)
        before = float(torch.cosine_similarity(gradients[i], gradients[j], dim=0))
        assert after[i, j] == pytest.approx(0.5 * rho[i, j] + 0.5 * before)
    assert corrections == 2


def test_the_average_moves_without_a_correction_too() -> None:
    opt = start(GradVac, 4, 30, beta=0.1)
    gradients = family("near_parallel", 0)
    close(opt.combine(gradients, torch.ones(4)), gradients.mean(0), 1e-12)
    assert opt.report()["corrections"] == 0
    assert (opt.rho[~np.eye(4, dtype=bool)] > 0.05).all()


def test_with_targets_of_zero_it_is_pcgrad() -> None:
    gradients, orders = family("opposed", 2), [np.roll(np.arange(4), i) for i in range(4)]
    ours, theirs = start(GradVac, 4, 30, beta=0.0), start(PCGrad, 4, 30)
    ours.generator, theirs.generator = FixedOrders(orders), FixedOrders(orders)
    # the guard of the denominator is 1e-8
    close(ours.combine(gradients, torch.ones(4)), theirs.combine(gradients, torch.ones(4)), 1e-7)


@pytest.mark.parametrize("kind", FAMILIES[:-1])
def test_agrees_with_torchjd_in_the_same_order(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    aggregator = peer().GradVac(beta=0.3)
    gradients = [family(kind, seed, num_tasks=3) for seed in range(6)]
    # torchjd permutes the places among the others, we the tasks: [0, 1] of the others is ascending order
    monkeypatch.setattr(torch, "randperm", torch.arange)
    opt = start(GradVac, 3, 30, beta=0.3)
    for rows in gradients:
        opt.generator = FixedOrders([[0, 1, 2]] * 3)
        close(3 * opt.combine(rows, torch.ones(3)), aggregator(rows), 1e-6)


def test_tiny_gradients_where_the_peer_loses_the_cosine(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchjd adds 1e-8 to the product of two norms: at 1e-5 its cosines shrink a hundredfold, ours do not."""
    aggregator = peer().GradVac(beta=0.5)
    monkeypatch.setattr(torch, "randperm", torch.arange)
    ours, unscaled = start(GradVac, 2, 30, beta=0.5), start(GradVac, 2, 30, beta=0.5)
    for kind in ("near_parallel", "near_parallel", "random"):
        gradients = family(kind, 0, num_tasks=2)
        for opt in (ours, unscaled):
            opt.generator = FixedOrders([[0, 1]] * 2)
        small = ours.combine(gradients * 1e-5, torch.ones(2))
        close(small * 1e5, unscaled.combine(gradients, torch.ones(2)), 1e-9)
        peers = aggregator(gradients * 1e-5) / 2
    np.testing.assert_allclose(ours.rho, unscaled.rho, rtol=1e-9)
    assert not torch.allclose(peers, small, rtol=0.1, atol=0)


def test_a_missing_task_leaves_its_targets() -> None:
    opt = start(GradVac, 4, 30, beta=0.5)
    gradients, out = family("random", 3), torch.empty(30, dtype=torch.float64)
    opt.combine(gradients, torch.ones(4))
    before = opt.rho.copy()
    assert steps_of(opt, 1, {k: family("random", 4)[k] for k in (3, 0, 1)}, out)
    assert (opt.rho[2] == before[2]).all()
    assert (opt.rho[:, 2] == before[:, 2]).all()
    assert not np.allclose(opt.rho[0, 3], before[0, 3])


def test_a_task_without_gradient_has_no_cosine() -> None:
    gradients = family("random", 0)
    gradients[1] = 0
    opt = start(GradVac, 4, 30, beta=0.5)
    assert torch.isfinite(opt.combine(gradients, torch.ones(4))).all()
    assert (opt.rho[1] == 0).all()
    assert (opt.rho[:, 1] == 0).all()


def test_identical_tasks_stay_finite_for_long() -> None:
    opt, gradients = start(GradVac, 3, 30, beta=0.5), family("random", 0)[:1].expand(3, -1)
    for _ in range(200):
        u = opt.combine(gradients, torch.ones(3))
    close(u, gradients[0], 1e-12)
    assert np.allclose(weights(opt), 1 / 3)


def test_update_by_default_is_averaged() -> None:
    gradients = family("opposed", 0)
    close(update(GradVac, gradients, scale="sum"), 4 * update(GradVac, gradients), 1e-14)
