"""IMTL-G: worked numbers, equal projections, a peer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gram_cases import FAMILIES, close, family, peer, start, update, weights
from optimizer_cases import examples

from optimizers.imtl_g import IMTLG


def test_worked_example(specs: Any) -> None:
    case = examples(specs)["imtlg_1"]
    gradients, expected = case["inputs"]["G"], case["expected"]
    opt = start(IMTLG, 3, 6)
    u = opt.combine(gradients, torch.ones(3))
    close(u, expected["update"])
    np.testing.assert_allclose(weights(opt), expected["weights"], rtol=1e-9)
    close(gradients @ u / gradients.norm(dim=1), expected["projections"])


@pytest.mark.parametrize("factor", [1.0, 1e4, 1e9])
def test_projections_are_equal_whatever_the_lengths(factor: float) -> None:
    gradients = family("random", 1)
    gradients[0] *= factor
    u = update(IMTLG, gradients)
    projections = gradients @ u / gradients.norm(dim=1)
    close(projections, projections.mean().expand(4), 1e-6)


@pytest.mark.parametrize("kind", FAMILIES)
def test_agrees_with_torchjd(kind: str) -> None:
    gradients = family(kind, 0)
    if kind == "tiny":  # see below
        gradients = gradients * 1e5
    close(update(IMTLG, gradients), peer().IMTLG()(gradients), 1e-8)


def test_a_short_gradient_is_not_dependent() -> None:
    """The peer's pseudo-inverse drops a task whose gradient is 1e9 times shorter, and its projection differs."""
    gradients = family("random", 0)
    gradients[0] *= 1e9
    theirs = peer().IMTLG()(gradients)
    projections = gradients @ theirs / gradients.norm(dim=1)
    assert projections.max() - projections.min() > 0.1 * projections.abs().max()


def test_weights_that_cancel_fall_back_to_the_mean() -> None:
    """Opposed gradients have no equal projections; the peer returns 0 there."""
    g = family("random", 0)[0]
    gradients = torch.stack([g, -g])
    opt = start(IMTLG, 2, 30)
    opt.combine(gradients, torch.ones(2))
    assert weights(opt).tolist() == [0.5, 0.5]
    assert opt.report()["solver_fallbacks"] == 1


def test_a_task_without_gradient_takes_no_part() -> None:
    gradients = family("random", 0)
    gradients[2] = 0
    close(update(IMTLG, gradients), update(IMTLG, gradients[[0, 1, 3]]), 1e-12)
