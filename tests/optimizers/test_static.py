"""Static weights: the worked examples, what they are at their default, and by which names they may be given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gram_cases import family

from mtbench.errors import ConfigError
from mtbench.optim import MultitaskOptimizer
from mtbench.registry import get_optimizer

TASKS = ["nq", "fever", "hotpot", "eli5"]


def started(weights: Any = "", names: list[str] | None = TASKS, num_tasks: int = 4) -> MultitaskOptimizer:
    opt = get_optimizer("static")(weights=weights)
    opt.start(torch.zeros(30, dtype=torch.float64), num_tasks, 10, task_names=names)
    return opt


def test_worked_examples(specs: Path) -> None:
    content = json.loads((specs / "optimizer_examples_2.json").read_text(encoding="utf-8"))
    cases = [case for case in content["checks"] if case["optimizer"] == "static"]
    assert cases
    for case in cases:
        inputs = case["inputs"]
        opt = get_optimizer("static")(**inputs["hyperparameters"])
        size = len(next(row for row in inputs["G_seq"][0] if row is not None))
        opt.start(torch.zeros(size, dtype=torch.float64), len(inputs["G_seq"][0]), 10, **inputs["start"])
        steps = zip(inputs["G_seq"], inputs["loss_seq"], case["expected"]["steps"], strict=True)
        for number, (rows, losses, expected) in enumerate(steps):
            out = torch.empty(size, dtype=torch.float64)
            opt.begin_step(number)
            for k, row in enumerate(rows):
                if row is not None:
                    opt.task(k, torch.tensor(row, dtype=torch.float64), losses[k])
            assert opt.finish(out)
            np.testing.assert_allclose(out.numpy(), expected["update"], rtol=0, atol=1e-9)
            wanted = [w or 0.0 for w in expected["weights"]]
            np.testing.assert_allclose(opt.report()["weights"], wanted, rtol=0, atol=1e-9)


@pytest.mark.parametrize("num_tasks", [1, 3, 4, 7])
def test_the_default_is_naive_bit_for_bit(num_tasks: int) -> None:
    gradients = torch.randn(num_tasks, 30, dtype=torch.float64)
    naive = get_optimizer("naive")()
    naive.start(torch.zeros(30, dtype=torch.float64), num_tasks, 10)
    losses = torch.ones(num_tasks)
    static = started(names=None, num_tasks=num_tasks)
    assert torch.equal(static.combine(gradients, losses), naive.combine(gradients, losses))


@pytest.mark.parametrize("weights", ["nq:2,fever:0.5,eli5:0", {"nq": 2, "fever": 0.5, "eli5": 0}, [2, 0.5, 1, 0]])
def test_weights_are_divided_by_their_sum(weights: Any) -> None:
    gradients = family("random", 3)
    opt = started(weights)
    expected = (2 * gradients[0] + 0.5 * gradients[1] + gradients[2]) / 3.5
    torch.testing.assert_close(opt.combine(gradients, torch.ones(4)), expected, rtol=1e-12, atol=1e-12)
    assert opt.params["weights"] in ("eli5:0,fever:0.5,nq:2", "2,0.5,1,0")


def test_huge_and_tiny_weights_are_weights() -> None:
    gradients = family("random", 3)
    for factor in (1e-300, 1e308):
        opt = started([factor, factor, 0, 0])
        expected = gradients[:2].mean(0)
        torch.testing.assert_close(opt.combine(gradients, torch.ones(4)), expected, rtol=1e-12, atol=1e-12)


def test_one_task_a_step_keeps_its_weight() -> None:
    gradients, opt = family("random", 4), started("nq:2,fever:0.5,eli5:0")
    total = torch.zeros(30, dtype=torch.float64)
    for k in range(4):
        out = torch.empty(30, dtype=torch.float64)
        opt.begin_step(k, tasks=[k])
        opt.task(k, gradients[k], 1.0)
        assert opt.finish(out)
        total += out / 4
    whole = started("nq:2,fever:0.5,eli5:0").combine(gradients, torch.ones(4))
    torch.testing.assert_close(total, whole, rtol=1e-12, atol=1e-12)


def test_what_is_wrong_is_said_at_the_start() -> None:
    with pytest.raises(ConfigError, match=r"static: weights: there is no task 'nqq'\. Did you mean 'nq'"):
        started("nqq:2")
    with pytest.raises(ConfigError, match="task_names"):
        started("nq:2", names=None)
    for wrong in (["a", "b"], ["a", "a", "b", "c"]):
        with pytest.raises(ConfigError, match="task_names must be 4 distinct names"):
            started("", names=wrong)
