"""UPGrad: its promise, a peer, and where the peer turns into the mean."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gram_cases import FAMILIES, close, family, peer, start, update, weights

from optimizers.upgrad import UPGrad


@pytest.mark.parametrize("kind", FAMILIES)
def test_agrees_with_torchjd(kind: str) -> None:
    gradients = family(kind, 0, num_tasks=5)
    if kind == "tiny":  # see below
        gradients = gradients * 1e5
    close(update(UPGrad, gradients), peer().UPGrad()(gradients), 1e-9)


def test_small_gradients_where_the_peer_returns_the_mean() -> None:
    """torchjd takes a trace below 1e-4 for zero; then it is the mean, and conflicts."""
    gradients = family("opposed", 0) * 1e-5
    close(peer().UPGrad()(gradients), gradients.mean(0), 1e-6)
    ours = update(UPGrad, gradients)
    close(ours * 1e5, update(UPGrad, gradients * 1e5), 1e-9)
    assert (gradients @ gradients.mean(0)).min() < 0
    assert (gradients @ ours).min() > -1e-3 * float(gradients.norm() * ours.norm())


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", FAMILIES)
def test_the_update_conflicts_with_no_task(kind: str, seed: int) -> None:
    gradients = family(kind, seed)
    u = update(UPGrad, gradients, regularization=1e-10)
    assert (gradients @ u / (gradients.norm(dim=1) * u.norm())).min() > -1e-5


def far_apart(ratio: float, seed: int) -> torch.Tensor:
    """Gradients whose norms lie up to ``ratio`` apart; the two shortest are opposed, more or less."""
    rng = np.random.default_rng(seed)
    num_tasks = int(rng.integers(2, 6))
    rows = rng.normal(size=(num_tasks, 30))
    rows[1] = -rows[0] + rng.uniform(0.02, 1) * rows[1]
    rows /= np.linalg.norm(rows, axis=1)[:, None]
    return torch.from_numpy(rows * np.geomspace(1, ratio, num_tasks)[:, None])


@pytest.mark.parametrize("ratio", [1.0, 10.0, 30.0, 1e3, 1e6])
@pytest.mark.parametrize("ridge", ["trace", "rows"])
def test_the_ridge_breaks_the_promise_by_no_more_than_it_says(ridge: str, ratio: float) -> None:
    for seed in range(30):
        gradients = far_apart(ratio, seed)
        opt = start(UPGrad, len(gradients), 30, ridge=ridge)
        u = opt.combine(gradients, torch.ones(len(gradients)))
        squares = gradients.square().sum(1)
        ridges = 1e-4 * (squares if ridge == "rows" else squares.sum())
        slack = 1e-10 * gradients.norm(dim=1) * u.norm()
        assert (gradients @ u >= -ridges * torch.from_numpy(weights(opt)) - slack).all()
        cosine = (gradients @ u / (gradients.norm(dim=1) * u.norm())).min()
        assert cosine > -0.01 or ridge == "trace"


def test_with_norms_far_apart_only_a_ridge_by_rows_protects_the_short_ones() -> None:
    worst = {
        ridge: min(
            float((g @ (u := update(UPGrad, g, ridge=ridge)) / (g.norm(dim=1) * u.norm())).min())
            for g in (far_apart(30.0, seed) for seed in range(30))
        )
        for ridge in ("trace", "rows")
    }
    assert worst["trace"] < -0.3 and worst["rows"] > -0.01


def test_both_ridges_are_one_for_equal_norms_and_a_task_without_gradient_has_none() -> None:
    gradients = family("random", 1)
    gradients = gradients / gradients.norm(dim=1, keepdim=True)
    close(update(UPGrad, gradients, ridge="rows", regularization=4e-4), update(UPGrad, gradients), 1e-12)
    gradients[2] = 0
    close(update(UPGrad, gradients, ridge="rows"), update(UPGrad, gradients[[0, 1, 3]], ridge="rows") * 3 / 4, 1e-12)


def test_without_conflict_it_is_the_mean() -> None:
    gradients = family("near_parallel", 0)
    close(update(UPGrad, gradients), gradients.mean(0), 1e-14)


def test_a_failed_projection_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("Maximum number of iterations reached.")

    monkeypatch.setattr("optimizers.upgrad.nnls", fail)
    opt = start(UPGrad, 4, 30)
    close(opt.combine(family("random", 0), torch.ones(4)), family("random", 0).mean(0), 1e-14)
    assert opt.report()["solver_fallbacks"] == 4
