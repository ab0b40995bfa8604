"""scale=unit: weights divided by their sum, for the methods whose update is a sum with such weights, in every way of
giving a step; and an error for the others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sliced import sliced_run
from torch import Tensor

from mtbench.errors import ConfigError
from mtbench.optim import GradientCombining, GramWeighting, MultitaskOptimizer
from mtbench.registry import entries, get_optimizer

NAMES = sorted(name for name, entry in entries("optimizer").items() if entry.builtin)
SUMS = [name for name in NAMES if get_optimizer(name).weighted_sum]
K, D = 4, 30
MEMORY = {"stch": {"warmup_steps": 2}, "dwa": {"window": 2}, "fairgrad": {"max_norm": 0.0}, "nash": {"max_norm": 0.0}}


def steps(count: int = 6) -> list[tuple[Tensor, Tensor]]:
    draws = torch.Generator().manual_seed(7)
    return [
        (
            torch.randn(K, D, generator=draws, dtype=torch.float64) + 0.3,
            torch.rand(K, generator=draws, dtype=torch.float64) * 0.1 + 0.02,
        )
        for _ in range(count)
    ]


def started(name: str, **params: Any) -> MultitaskOptimizer:
    opt = get_optimizer(name)(**{**MEMORY.get(name, {}), **params})
    opt.start(torch.linspace(-1, 1, D, dtype=torch.float64), K, 100, task_sizes=[1, 2, 3, 4])
    return opt


def one_by_one(opt: MultitaskOptimizer, number: int, gradients: Tensor, losses: Tensor, told: bool) -> Tensor:
    opt.begin_step(number, losses.tolist() if told else None)
    for k in (2, 0, 3, 1):
        opt.task(k, gradients[k], losses[k])
    out = torch.empty(D, dtype=gradients.dtype)
    assert opt.finish(out)
    return out


def test_it_is_known_which_methods_are_sums() -> None:
    others = {"aligned", "dbmtl", "graddrop", "imtl_g", "moco", "sdmgrad", "fmtl", "tsage"}
    assert set(NAMES) - set(SUMS) <= others
    assert not {"aligned", "dbmtl", "graddrop", "imtl_g", "moco", "tsage"} & set(SUMS)


@pytest.mark.parametrize("name", SUMS)
def test_the_weights_sum_to_one_and_the_direction_stays(name: str) -> None:
    usual, unit, streamed, told = started(name), *(started(name, scale="unit") for _ in range(3))
    for number, (gradients, losses) in enumerate(steps()):
        expected = usual.combine(gradients, losses)
        weights = np.asarray(usual.report()["weights"])
        expected = expected / weights.sum()
        found = [
            unit.combine(gradients, losses),
            one_by_one(streamed, number, gradients, losses, False),
            one_by_one(told, number, gradients, losses, True),
        ]
        for opt, update in zip((unit, streamed, told), found, strict=True):
            torch.testing.assert_close(update, expected, rtol=1e-9, atol=1e-12)
            np.testing.assert_allclose(opt.report()["weights"], weights / weights.sum(), rtol=1e-9, atol=1e-12)
        for opt in (usual, unit, streamed, told):
            opt.after_step((losses * 0.97).tolist)


@pytest.mark.parametrize("name", SUMS)
def test_sharded_as_whole(name: str) -> None:
    whole = started(name, scale="unit")
    expected = [whole.combine(g, v).clone() for g, v in steps()]
    make = lambda: get_optimizer(name)(**MEMORY.get(name, {}), scale="unit")  # noqa: E731
    found, _ = sliced_run(make, steps(), [7, 8, 8], task_sizes=[1, 2, 3, 4])
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(SUMS)))
def test_other_methods_refuse(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"{name}: scale='unit' divides the weights by their sum, and this method"):
        get_optimizer(name)(scale="unit")


def test_losses_that_would_overflow_single_floats_do_not() -> None:
    gradients, losses = torch.randn(3, D), torch.tensor([1e-39, 2e-39, 1e-39], dtype=torch.float64)
    for told in (True, False):
        opt = get_optimizer("gls")(scale="unit")
        opt.start(torch.zeros(D), 3, 10)
        opt.begin_step(0, losses.tolist() if told else None)
        for k in range(3):
            opt.task(k, gradients[k], losses[k])
        out = torch.empty(D)
        assert opt.finish(out)
        torch.testing.assert_close(out, 0.4 * gradients[0] + 0.2 * gradients[1] + 0.4 * gradients[2])


def test_with_one_task_a_step_fixed_weights_stay_what_they_are() -> None:
    gradients, losses = steps(1)[0]
    opt = get_optimizer("static")(weights=[3, 1, 0, 4], scale="unit")
    opt.start(torch.zeros(D, dtype=torch.float64), K, 10)
    for k, weight in enumerate([3 / 8, 1 / 8, 0, 1 / 2]):
        opt.begin_step(k, tasks=[k])
        opt.task(k, gradients[k], losses[k])
        out = torch.empty(D, dtype=torch.float64)
        assert opt.finish(out)
        torch.testing.assert_close(out, 4 * weight * gradients[k])


class Negative(GramWeighting):
    """A weight below 0."""

    name = "negative"
    summary = "x"

    def weights_from_gram(self, gram: np.ndarray, losses: np.ndarray) -> list[float]:
        return [1.0, 1.0, 0.5, -0.5]


class Zero(GradientCombining):
    """No weight at all in odd steps."""

    name = "zero"
    summary = "x"
    weighted_sum = True

    def combine_gradients(self, gradients: Tensor, losses: np.ndarray) -> Tensor:
        weights = [0.0] * 4 if self.step_index % 2 else [4.0, 0.0, 0.0, 4.0]
        self.set_report(weights, extra=3)
        return torch.as_tensor(weights, dtype=gradients.dtype) @ gradients


def test_plugins_of_every_kind() -> None:
    gradients, losses = steps(1)[0]
    opts = [cls(scale="unit") for cls in (Negative, Zero)]
    for opt in opts:
        opt.start(torch.zeros(D, dtype=torch.float64), K, 10)
    with pytest.raises(ConfigError, match=r"negative: scale='unit' needs weights >= 0, and this step has -0\.5"):
        opts[0].combine(gradients, losses)
    update = opts[1].combine(gradients, losses)
    torch.testing.assert_close(update, (gradients[0] + gradients[3]) / 2)
    assert opts[1].report() == {"weights": [0.5, 0.0, 0.0, 0.5], "extra": 3}
    assert not opts[1].combine(gradients, losses).any() and opts[1].report()["weights"] == [0.0] * 4
