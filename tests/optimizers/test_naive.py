"""The fixed weights of the naive method."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from optimizer_cases import examples, random_gradients, steps_of

from mtbench.errors import ConfigError
from optimizers.naive import Naive


def test_worked_example(specs: Path) -> None:
    case = examples(specs)["naive_1"]
    gradients, expected = case["inputs"]["G"], case["expected"]
    variants: list[tuple[dict[str, Any], str]] = [
        ({}, "mean"),
        ({"scale": "sum"}, "sum"),
        ({"compat": "taco"}, "sum"),
        ({"weights": "size"}, "size_weighted"),
        ({"weights": "temperature", "temperature": case["inputs"]["temperature"]}, "temp_weighted"),
    ]
    for params, key in variants:
        opt = Naive(**params)
        opt.start(torch.zeros(6, dtype=torch.float64), 3, 1, task_sizes=case["inputs"]["sizes"].tolist())
        torch.testing.assert_close(opt.combine(gradients, torch.ones(3)), expected[key], rtol=1e-9, atol=1e-15)
    assert opt.report()["weights"] == pytest.approx(expected["temp_weights"].tolist(), rel=1e-9)


def test_sizes_are_needed_where_the_weights_come_from_them() -> None:
    with pytest.raises(ConfigError, match="needs task_sizes"):
        Naive(weights="size").start(torch.zeros(3), 2, 1)


def test_the_rest_takes_up_the_share_of_a_missing_task() -> None:
    opt = Naive(weights="size")
    opt.start(torch.zeros(5, dtype=torch.float64), 3, 1, task_sizes=[1, 2, 1])
    gradients, out = random_gradients(3, 5, 0), torch.empty(5, dtype=torch.float64)
    assert steps_of(opt, 0, {1: gradients[1], 0: gradients[0]}, out)
    torch.testing.assert_close(out, gradients[0] / 3 + gradients[1] * 2 / 3)
    assert opt.report()["weights"] == pytest.approx([1 / 3, 2 / 3, 0])
