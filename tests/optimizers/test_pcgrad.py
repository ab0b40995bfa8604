"""PCGrad against worked numbers, a peer, and its own promise."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from gram_cases import FAMILIES, FixedOrders, close, family, peer, start, update
from optimizer_cases import examples

from optimizers.pcgrad import PCGrad


def test_worked_example_with_two_tasks(specs: Any) -> None:
    case = examples(specs)["pcgrad_1"]
    gradients, expected = case["inputs"]["G"], case["expected"]
    close(update(PCGrad, gradients), expected["mean"])
    close(update(PCGrad, gradients, scale="sum"), expected["sum"])
    opt = start(PCGrad, 2, 3)
    opt.combine(gradients, torch.ones(2))
    assert opt.report()["weights"] == pytest.approx((expected["weights_sum_form"] / 2).tolist(), rel=1e-9)
    assert opt.report()["projections"] == 2


@pytest.mark.parametrize(
    ("params", "key"),
    [({}, "sum_skip_self"), ({"include_self": True}, "sum_include_self"), ({"compat": "taco"}, "sum_include_self")],
)
def test_worked_example_visiting_oneself(params: dict[str, Any], key: str, specs: Any) -> None:
    case = examples(specs)["pcgrad_3"]
    opt = start(PCGrad, 3, 2, **params)
    opt.generator = FixedOrders(case["inputs"]["orders"].int())
    close(3 * opt.combine(case["inputs"]["G"], torch.ones(3)), case["expected"][key])


@pytest.mark.parametrize("kind", FAMILIES)
def test_agrees_with_torchjd_in_the_same_order(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torchjd = peer()
    gradients = family(kind, seed=1, num_tasks=5)
    orders = [torch.roll(torch.arange(5), i) for i in range(5)]
    opt = start(PCGrad, 5, gradients.shape[1])
    opt.generator = FixedOrders(orders)
    remaining = iter(orders)
    monkeypatch.setattr(torch, "randperm", lambda n: next(remaining))
    close(5 * opt.combine(gradients, torch.ones(5)), torchjd.PCGrad()(gradients), 1e-10)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", FAMILIES)
def test_with_two_tasks_the_update_conflicts_with_neither(kind: str, seed: int) -> None:
    gradients = family(kind, seed, num_tasks=2)
    u = update(PCGrad, gradients)
    products = gradients @ u / (gradients.norm(dim=1) * u.norm())
    assert products.min() > -1e-12


def test_without_conflict_it_is_the_mean() -> None:
    gradients = family("near_parallel", 0)
    close(update(PCGrad, gradients), gradients.mean(0), 1e-14)


def test_the_order_is_drawn_anew_and_matters() -> None:
    gradients = torch.tensor([[1.0, 0.0], [-0.6, 0.9], [-0.5, -0.8]], dtype=torch.float64)
    opt = start(PCGrad, 3, 2)
    seen = {tuple(opt.combine(gradients, torch.ones(3)).tolist()) for _ in range(20)}
    assert len(seen) > 1


def test_a_task_without_gradient_changes_nothing() -> None:
    gradients = torch.tensor([[1.0, 0.0], [0.0, 0.0], [-1.0, 1.0]], dtype=torch.float64)
    two = update(PCGrad, gradients[[0, 2]])
    close(3 * update(PCGrad, gradients), 2 * two, 1e-14)


def test_compat_is_visible_in_the_parameters() -> None:
    params = PCGrad(compat="taco").params
    assert params["include_self"] is True
    assert PCGrad(**params).params == params
