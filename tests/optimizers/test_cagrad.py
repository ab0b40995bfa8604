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


def dual(gradients: torch.Tensor, c: float = 0.4) -> Dual:
    matrix = gram(gradients)
    matrix = matrix / np.diag(matrix).max()
    return Dual(matrix, float(c * np.sqrt(max(matrix.mean(), 0.0))))


def hard(kind: str, seed: int, num_tasks: int) -> torch.Tensor:
    """More kinds of gradients, of many tasks."""
    gradients = family(kind if kind in FAMILIES else "random", seed, num_tasks, 30 if kind == "narrow" else 400).clone()
    if kind == "far":
        gradients *= torch.from_numpy(np.geomspace(1e-4, 1e4, num_tasks))[:, None]
    if kind == "narrow":  # more tasks than coordinates
        gradients[0] *= 1e3
    if kind == "twice":
        gradients[1] = gradients[0]
    return gradients


@pytest.mark.parametrize("c", [0.05, 0.4, 0.95])
@pytest.mark.parametrize("num_tasks", [2, 4, 16])
@pytest.mark.parametrize("kind", [*FAMILIES, "far", "narrow", "twice"])
def test_projections_find_the_optimum_of_the_search(kind: str, num_tasks: int, c: float) -> None:
    for seed in range(3):
        gradients = hard(kind, seed, num_tasks)
        one = dual(gradients, c)
        (searched, gap), (projected, other_gap) = one.solve(), one.project()
        assert other_gap < 1e-9 and gap < (1e-5 if kind == "far" else 1e-9)
        ours, theirs = (torch.from_numpy(w) @ gradients for w in (projected, searched))
        assert one.value(projected) <= one.value(searched) + 1e-12
        if kind != "far":  # there the search stops where the shortest gradients have not been weighed up yet
            close(ours, theirs, 1e-4)  # the objective is flat: its value fixes it to the root of 1e-9


@pytest.mark.parametrize("kind", [*FAMILIES, "far", "narrow", "twice"])
def test_a_hundred_tasks_are_solved_by_projections(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Dual, "search", lambda *a: pytest.fail("SLSQP takes seconds"))
    projections: list[float] = []
    project = Dual._projection
    monkeypatch.setattr(Dual, "_projection", lambda self, t: (projections.append(t), project(self, t))[1])
    opt = start(CAGrad, 100, 400 if kind != "narrow" else 30)
    gradients = hard(kind, 0, 100)
    u, mean = opt.combine(gradients, torch.ones(100)) * 1.16, gradients.mean(0)
    assert opt.report()["solver_fallbacks"] == 0 and len(projections) <= 30
    one = dual(gradients)
    w, gap = one.project()
    assert gap < 1e-9
    assert (u - mean).norm() == pytest.approx(float(0.4 * mean.norm()), rel=1e-9)
    largest = float(gradients.norm(dim=1).max())
    assert float((gradients @ u).min()) / largest**2 == pytest.approx(one.value(w) * one.size, abs=1e-9 * one.size)


def test_with_many_tasks_of_which_two_are_opposed_or_one_has_no_gradient_it_is_the_mean() -> None:
    """Then no update improves all: g_w is 0 at the optimum, exactly, where a search ends with noise for a direction."""
    for kind in ("opposed", "zero"):
        gradients = family("near_parallel", 0, 40, 400).clone()
        if kind == "zero":
            gradients[3] = 0
        else:
            gradients[7] = -2 * gradients[8]
        opt = start(CAGrad, 40, 400)
        u = opt.combine(gradients, torch.ones(40))
        assert opt.report()["solver_fallbacks"] == 0
        if kind == "zero":
            close(u, gradients.mean(0) / 1.16, 1e-12)
        w, gap = dual(gradients).project()
        assert gap < 1e-9 and w.sum() == pytest.approx(1.0) and w.min() >= 0


def test_a_projection_that_fails_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("Maximum number of iterations reached.")

    monkeypatch.setattr("optimizers.cagrad.nnls", fail)
    opt = start(CAGrad, 20, 30)
    assert torch.isfinite(opt.combine(family("random", 0, 20), torch.ones(20))).all()
    assert opt.report()["solver_fallbacks"] == 1
