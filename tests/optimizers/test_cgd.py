"""CGD against worked numbers of both rules, and what its weights must do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gram_cases import close, family, start, weights
from optimizer_cases import examples, steps_of

from mtbench.errors import ConfigError
from optimizers.cgd import CGD


@pytest.mark.parametrize("params", [{"compat": "taco"}, {"rule": "taco", "loss_power": 0.25, "tau": 100.0}])
def test_worked_example_of_the_taco_rule(params: dict[str, Any], specs: Any) -> None:
    case = examples(specs)["cgd_1"]
    opt = start(CGD, 3, 6, **params)
    for gradients, losses, expected in zip(
        case["inputs"]["G_seq"], case["inputs"]["loss_seq"], case["expected"]["steps"], strict=True
    ):
        close(opt.combine(gradients, losses), expected["grad"])
        np.testing.assert_allclose(weights(opt), expected["w"], rtol=1e-9)


def test_worked_example_of_the_official_rule(specs: Any) -> None:
    # the official code keeps its counts in float32, so its numbers end at 1e-9
    case = examples(specs)["cgd_3"]
    opt = start(CGD, 3, 6)
    for gradients, losses, expected in zip(
        case["inputs"]["G_seq"], case["inputs"]["loss_seq"], case["expected"]["steps"], strict=True
    ):
        close(opt.combine(gradients, losses), expected["grad"], 2e-9)
        np.testing.assert_allclose(weights(opt), expected["w"], rtol=2e-9)


def test_official_rule_by_definition() -> None:
    """The same, to rounding, from the formula."""
    opt, w = start(CGD, 4, 30, step=0.2), np.full(4, 0.25)
    rng = np.random.default_rng(0)
    for seed in range(5):
        gradients, losses = family("random", seed), rng.uniform(0.5, 2, size=4)
        update = opt.combine(gradients, torch.from_numpy(losses))
        unit = gradients.numpy() / np.linalg.norm(gradients.numpy(), axis=1, keepdims=True)
        w = w * np.exp(0.2 * (np.sqrt(np.outer(losses, losses)) * (unit @ unit.T)) @ np.full(4, 0.25))
        w = w / w.sum()
        np.testing.assert_allclose(weights(opt), w, rtol=1e-12)
        close(update, torch.from_numpy(w) @ gradients, 1e-12)


def test_the_prior_shapes_the_first_weights() -> None:
    opt = CGD(prior=10.0, step=1e-9)
    opt.start(torch.ones(30, dtype=torch.float64), 4, 10, task_sizes=[10, 100, 1000, 10_000])
    opt.combine(family("random", 0), torch.ones(4))
    expected = np.exp(10 / np.sqrt([10, 100, 1000, 10_000]))
    np.testing.assert_allclose(weights(opt), expected / expected.sum(), rtol=1e-6)


def test_a_prior_needs_sizes() -> None:
    with pytest.raises(ConfigError, match="task_sizes"):
        start(CGD, 4, 30, prior=1.0)


def test_no_weight_falls_below_the_floor_and_it_can_return() -> None:
    gradients = family("opposed", 0, num_tasks=2)
    opt = start(CGD, 2, 30, step=5.0, floor=1e-3)
    for _ in range(50):
        opt.combine(gradients, torch.tensor([9.0, 1.0]))
    assert weights(opt).min() == pytest.approx(1e-3)
    low = int(weights(opt).argmin())
    losses = torch.ones(2)
    losses[low] = 9.0
    for _ in range(10):
        opt.combine(gradients, losses)
    assert weights(opt)[low] > 0.1


@pytest.mark.parametrize("rule", ["official", "taco"])
def test_a_missing_task_keeps_its_weight(rule: str) -> None:
    opt = start(CGD, 4, 30, rule=rule, tau=1.0, step=1.0)
    gradients, out = family("random", 3), torch.empty(30, dtype=torch.float64)
    opt.combine(gradients, torch.ones(4))
    before = np.exp(opt.log_weights)
    assert steps_of(opt, 1, {k: gradients[k] for k in (0, 3, 1)}, out)
    after = np.exp(opt.log_weights)
    assert after[2] == before[2]
    assert after.sum() == pytest.approx(1.0)
    assert not np.allclose(after, before)
    assert weights(opt).sum() == pytest.approx(1.0)
    assert weights(opt)[2] == 0


def test_a_weight_of_nearly_nothing_can_be_alone() -> None:
    opt = start(CGD, 2, 30, rule="taco")
    opt.log_weights = np.array([0.0, -800.0])
    gradient, out = torch.ones(30, dtype=torch.float64), torch.empty(30, dtype=torch.float64)
    assert steps_of(opt, 0, {1: gradient}, out)
    assert torch.equal(out, gradient) and opt.log_weights[1] == pytest.approx(-800.0)


@pytest.mark.parametrize("scale", [1e-10, 1e15])
@pytest.mark.parametrize("rule", ["official", "taco"])
def test_only_raw_inner_products_depend_on_the_scale(rule: str, scale: float) -> None:
    gradients = family("random", 0)
    one, other = start(CGD, 4, 30, rule=rule), start(CGD, 4, 30, rule=rule)
    raw, scaled = start(CGD, 4, 30, rule=rule, normalize=False), start(CGD, 4, 30, rule=rule, normalize=False)
    for opt, factor in [(one, 1.0), (other, scale), (raw, 1.0), (scaled, scale)]:
        opt.combine(gradients * factor, torch.ones(4))
    np.testing.assert_allclose(weights(one), weights(other), rtol=1e-9)
    assert np.isfinite(weights(scaled)).all()
    assert not np.allclose(weights(raw), weights(scaled))


def test_negative_and_zero_losses_stay_finite() -> None:
    opt = start(CGD, 4, 30)
    opt.combine(family("random", 0), torch.tensor([-1.0, 0.0, 1.0, 2.0]))
    assert np.isfinite(weights(opt)).all()


def test_compat_is_visible_in_the_parameters() -> None:
    params = CGD(compat="taco").params
    assert (params["rule"], params["loss_power"], params["tau"]) == ("taco", 0.25, 100.0)
    assert CGD(**params).params == params


def test_the_step_size_is_not_mistaken_for_the_step() -> None:
    opt = start(CGD, 4, 30)
    for _ in range(3):
        opt.combine(family("random", 0), torch.ones(4))
    assert opt.params["step"] == 0.05
