"""Methods that need more than one gradient of each task: worked numbers, long runs, and what each is about."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import statements
import torch
from torch import Tensor

from mtbench.errors import ConfigError
from mtbench.registry import get_optimizer
from optimizers.annealed import AnnealedSampling
from optimizers.fmtl import FlatMTL
from optimizers.sdmgrad import SDMGrad


def example(specs: Path, identifier: str) -> dict[str, Any]:
    content = json.loads((specs / "optimizer_examples_2.json").read_text(encoding="utf-8"))
    found: dict[str, Any] = next(case for case in content["checks"] if case["id"] == identifier)
    return found


def started(opt: Any, num_tasks: int, size: int, **more: Any) -> Any:
    opt.start(torch.zeros(size, dtype=torch.float64), num_tasks, 200, **more)
    return opt


# -- sdmgrad -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("identifier", ["sdmgrad_1", "sdmgrad_2"])
def test_sdmgrad_worked_example(specs: Path, identifier: str) -> None:
    case = example(specs, identifier)
    inputs = case["inputs"]
    sequence = torch.tensor(inputs.get("draws_seq") or inputs["G_seq"], dtype=torch.float64)
    opt = started(SDMGrad(**inputs["hyperparameters"]), *sequence.shape[-2:])
    for gradients, losses, expected in zip(sequence, inputs["loss_seq"], case["expected"]["steps"], strict=True):
        update = opt.combine(gradients, torch.tensor(losses))
        np.testing.assert_allclose(update.numpy(), expected["update"], rtol=0, atol=case["tolerance"])
        np.testing.assert_allclose(opt.report()["weights"], expected["weights"], rtol=0, atol=case["tolerance"])


@pytest.mark.parametrize("seed", range(3))
def test_two_hundred_steps_of_sdmgrad_equal_the_plain_equations(seed: int) -> None:
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(1, 1, 5, 7)) * rng.uniform(0.2, 3, size=(5, 1))
    draws = means + rng.normal(size=(200, 3, 5, 7))
    settings = {"lam": 0.4, "inner_lr": 0.1, "momentum": 0.6, "inner_steps": 12}
    opt = started(SDMGrad(**settings), 5, 7)
    for given, wanted in zip(draws, statements.sdmgrad(draws, **settings), strict=True):
        update = opt.combine(torch.from_numpy(given), torch.ones(5)).numpy()
        np.testing.assert_allclose(update, wanted, rtol=0, atol=1e-9 * max(1.0, np.abs(wanted).max()))


def test_sdmgrad_is_pulled_towards_its_preference() -> None:
    draws, preference = torch.randn(3, 3, 4, dtype=torch.float64), [2.0, 0.0, 6.0]
    opt = started(SDMGrad(lam=1e6, preference=preference), 3, 4)
    update = opt.combine(draws, torch.ones(3))
    torch.testing.assert_close(update, 0.25 * draws[0, 0] + 0.75 * draws[0, 2], rtol=0, atol=1e-4)
    equal = started(SDMGrad(preference="*:3"), 3, 4).combine(draws, torch.ones(3))
    assert torch.equal(equal, started(SDMGrad(), 3, 4).combine(draws, torch.ones(3)))


def test_a_task_that_sdmgrad_misses_keeps_its_weight() -> None:
    rng = np.random.default_rng(3)
    opt, out = started(SDMGrad(), 4, 6), torch.empty(6, dtype=torch.float64)
    opt.task_shares = np.array([0.4, 0.3, 0.2, 0.1])
    before = opt.task_shares.copy()
    opt.begin_step(0)
    for draw in (1, 2, 0):
        for k in (3, 0, 2):
            opt.task(k, torch.from_numpy(rng.normal(size=6)), 1.0, draw)
    assert opt.finish(out)
    assert opt.task_shares[1] == before[1] and opt.report()["weights"][1] == 0.0
    assert opt.task_shares.sum() == pytest.approx(1) and sum(opt.report()["weights"]) == pytest.approx(1)
    assert not np.allclose(opt.task_shares, before)


def test_sdmgrad_leaves_its_weights_where_products_say_nothing() -> None:
    opt = started(SDMGrad(), 3, 4)
    draws = torch.ones(3, 3, 4, dtype=torch.float64)
    draws[2] = -1  # no product is positive
    torch.testing.assert_close(opt.combine(draws, torch.ones(3)), torch.ones(4, dtype=torch.float64))
    assert (opt.task_shares == 1 / 3).all()


def test_a_step_that_sdmgrad_skips_moves_no_weight() -> None:
    rng = np.random.default_rng(5)
    opt = started(SDMGrad(), 3, 4)
    opt.combine(torch.from_numpy(rng.normal(size=(3, 3, 4))), torch.ones(3))
    before, draws = opt.task_shares.copy(), torch.from_numpy(rng.normal(size=(3, 3, 4)))
    draws[0, 2, 1] = torch.nan
    assert not opt.combine(draws, torch.ones(3)).any()
    assert (opt.task_shares == before).all() and opt.skipped_steps == 1


# -- fmtl --------------------------------------------------------------------------------------------------------------


def test_fmtl_worked_example(specs: Path) -> None:
    case = example(specs, "fmtl_1")
    inputs, expected = case["inputs"], case["expected"]
    curvatures, centres, theta = (torch.tensor(inputs[n], dtype=torch.float64) for n in ("H", "c", "theta"))

    def at(k: int, offset: Tensor, draw: int = 0) -> tuple[Tensor, float]:
        apart = theta + offset - centres[k]
        return curvatures[k] @ apart, float(apart @ curvatures[k] @ apart / 2)

    opt = FlatMTL(**inputs["hyperparameters"])
    opt.start(theta, 3, 10)
    first = torch.stack([at(k, torch.zeros(5, dtype=torch.float64))[0] for k in range(3)])
    np.testing.assert_allclose(first.numpy(), expected["task_gradients"], rtol=0, atol=1e-9)
    update = opt.combine(first, torch.ones(3), gradient_at=at)
    np.testing.assert_allclose(update.numpy(), expected["steps"][0]["update"], rtol=0, atol=case["tolerance"])


def test_fmtl_asks_for_nothing_where_a_task_has_no_gradient() -> None:
    asked: list[int] = []

    def at(k: int, offset: Tensor, draw: int = 0) -> tuple[Tensor, float]:
        asked.append(k)
        assert float(offset.norm()) == pytest.approx(0.05)
        return torch.full_like(offset, 3.0), 1.0

    opt, rows = started(FlatMTL(), 3, 4), torch.ones(3, 4, dtype=torch.float64)
    rows[1] = 0
    update = opt.combine(rows, torch.ones(3), gradient_at=at)
    assert asked == [0, 2] and torch.allclose(update, torch.full((4,), 2.0, dtype=torch.float64))


# -- annealed sampling -------------------------------------------------------------------------------------------------


def test_annealed_shares_go_from_the_sizes_towards_uniform() -> None:
    sizes = [100, 1600, 300]
    opt = AnnealedSampling()
    opt.start(torch.zeros(2, dtype=torch.float64), 3, 11, task_sizes=sizes)
    found = []
    for _ in range(11):
        found.append(opt.shares())
        opt.combine(torch.ones(3, 2, dtype=torch.float64), torch.ones(3))
    for step, shares in enumerate(found):
        powers = np.asarray(sizes, dtype=float) ** (1 - 0.8 * step / 10)
        np.testing.assert_allclose(shares, powers / powers.sum(), rtol=1e-12)
    assert found[0] == [0.05, 0.8, 0.15]


def test_annealed_says_what_it_needs() -> None:
    with pytest.raises(ConfigError, match="annealed: needs task_sizes"):
        get_optimizer("annealed")().start(torch.zeros(2), 3, 10)
