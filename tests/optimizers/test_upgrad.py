"""UPGrad: its promise, a peer, and where the peer turns into the mean."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from gram_cases import FAMILIES, close, family, peer, start, update

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
