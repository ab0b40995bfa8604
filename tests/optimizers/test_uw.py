"""Uncertainty weighting: worked numbers and where it rests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from optimizer_cases import examples

from optimizers.uw import UncertaintyWeighting


def started(num_tasks: int, **params: float) -> UncertaintyWeighting:
    opt = UncertaintyWeighting(**params)
    opt.start(torch.zeros(6, dtype=torch.float64), num_tasks, 10)
    return opt


def test_worked_example(specs: Path) -> None:
    case = examples(specs)["uw_1"]
    opt = started(3, lr=case["inputs"]["lr"])
    opt.scale = "sum"  # the paper's size
    inputs = zip(case["inputs"]["G_seq"], case["inputs"]["loss_seq"], case["expected"]["steps"], strict=True)
    for gradients, losses, expected in inputs:
        np.testing.assert_allclose(opt.log_variances, expected["s"], rtol=1e-9, atol=1e-15)
        before = opt.log_variances.copy()
        torch.testing.assert_close(opt.combine(gradients, losses), expected["update"], rtol=1e-9, atol=1e-15)
        assert np.array(opt.report()["weights"]) * 3 == pytest.approx(expected["weights"].tolist(), rel=1e-9)
        np.testing.assert_allclose((before - opt.log_variances) / 0.1, expected["grad_s"], rtol=1e-9, atol=1e-12)


def test_rests_where_each_loss_is_divided_by_its_size() -> None:
    opt = started(2, lr=0.5)
    for _ in range(200):
        opt.combine(torch.ones(2, 6, dtype=torch.float64), torch.tensor([4.0, 0.25]))
    np.testing.assert_allclose(np.exp(opt.log_variances), [8.0, 0.5], rtol=1e-6)


@pytest.mark.parametrize("losses", [[0.0, 0.0], [0.0, 1.0], [-3.0, 1.0], [1e30, 1.0], [1e-30, 1e-30]])
def test_odd_losses_keep_the_weights_finite(losses: list[float]) -> None:
    opt = started(2, lr=1.0)
    for _ in range(100):
        update = opt.combine(torch.ones(2, 6, dtype=torch.float64), torch.tensor(losses, dtype=torch.float64))
        assert torch.isfinite(update).all()
        assert np.isfinite(opt.weights_before()).all()
