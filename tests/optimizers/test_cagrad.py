"""CAGrad: its primal problem, a peer, and where the peer gives up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gram_cases import FAMILIES, close, family, gram, peer, start, update

from optimizers.cagrad import CAGrad, Dual


@pytest.mark.parametrize("c", [0.1, 0.4, 0.9])
@pytest.mark.parametrize("kind", FAMILIES)
def test_the_update_solves_the_primal_problem(kind: str, c: float) -> None:
    """It lies on the ball's border, and its worst product is the dual's optimum: no duality gap."""
    gradients = family(kind, 2)
    u, mean = update(CAGrad, gradients, c=c) * (1 + c**2), gradients.mean(0)
    assert (u - mean).norm() == pytest.approx(float(c * mean.norm()), rel=1e-9)
    matrix, radius = gram(gradients), float(c * mean.norm())
    dual = Dual(matrix, radius)
    w, gap = dual.solve()
    assert gap < 1e-9
    assert float((gradients @ u).min()) == pytest.approx(dual.value(w) * dual.size, rel=1e-6)


@pytest.mark.parametrize("kind", FAMILIES)
def test_agrees_with_torchjd(kind: str) -> None:
    # on gradients of length 1: see below for small ones
    gradients = family(kind, 3)
    gradients = gradients / gradients.norm(dim=1).max()
    close(update(CAGrad, gradients, c=0.4) * 1.16, peer().CAGrad(c=0.4)(gradients), 3e-5)


def test_small_gradients_where_the_peer_returns_zero() -> None:
    gradients = family("random", 3) * 1e-5
    assert not peer().CAGrad(c=0.4)(gradients).any()
    close(update(CAGrad, gradients) * 1e5, update(CAGrad, gradients * 1e5), 1e-9)


def test_c_of_zero_is_the_mean() -> None:
    gradients = family("opposed", 0)
    close(update(CAGrad, gradients, c=0.0), gradients.mean(0), 1e-14)


def test_identical_tasks_give_a_known_multiple() -> None:
    gradients = family("random", 0)[:1].expand(3, -1)
    close(update(CAGrad, gradients, c=0.5), gradients[0] * 1.5 / 1.25, 1e-9)


@pytest.mark.parametrize("num_tasks", [2, 8, 20])
def test_one_task_ten_thousand_times_larger(num_tasks: int) -> None:
    gradients = family("random", 0, num_tasks=num_tasks)
    gradients[0] *= 1e4
    opt = start(CAGrad, num_tasks, 30)
    assert torch.isfinite(opt.combine(gradients, torch.ones(num_tasks))).all()
    assert opt.report()["solver_fallbacks"] == 0


def test_exactly_opposed_tasks_keep_the_mean() -> None:
    g = family("random", 0)[0]
    rows = torch.stack([g, -2 * g])
    u = update(CAGrad, rows)
    assert torch.isfinite(u).all()
    assert torch.cosine_similarity(u, rows.mean(0), dim=0) > 0.99


def test_a_search_that_ends_early_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def stay(self: Dual, w: np.ndarray) -> Any:
        return w

    monkeypatch.setattr(Dual, "search", stay)
    monkeypatch.setattr(Dual, "polish", stay)
    opt = start(CAGrad, 4, 30)
    assert torch.isfinite(opt.combine(family("opposed", 0), torch.ones(4))).all()
    assert opt.report()["solver_fallbacks"] == 1
