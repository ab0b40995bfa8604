"""Dynamic weight average: worked numbers and its windows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from optimizer_cases import examples, steps_of

from optimizers.dwa import DynamicWeightAverage


def started(**params: float) -> DynamicWeightAverage:
    opt = DynamicWeightAverage(**params)  # type: ignore[arg-type]
    opt.start(torch.zeros(2), 3, 100)
    return opt


def test_worked_example(specs: Path) -> None:
    case = examples(specs)["dwa_1"]
    opt = started(window=1, temperature=case["inputs"]["T"])
    for losses in (case["inputs"]["prevprev"], case["inputs"]["prev"]):
        assert opt.weights_before() == pytest.approx([1 / 3] * 3)
        opt.combine(torch.ones(3, 2), losses)
    assert np.array(opt.weights_before()) * 3 == pytest.approx(case["expected"]["weights"].tolist(), rel=1e-9)


def test_windows_average_and_move_on() -> None:
    opt = started(window=2, temperature=1.0)
    losses = [[1.0, 1, 1], [3.0, 1, 1], [1.0, 1, 1], [1.0, 1, 1], [8.0, 8, 8]]
    for values in losses:
        opt.combine(torch.ones(3, 2), torch.tensor(values))
    expected = torch.softmax(torch.tensor([0.5, 1.0, 1.0]), 0)  # (1 + 1) / (1 + 3), and the open window does not count
    assert opt.weights_before() == pytest.approx(expected.tolist())


def test_tasks_without_a_usable_ratio_count_as_one() -> None:
    opt = started(window=1, temperature=1.0)
    out = torch.empty(2)
    for step, losses in enumerate([(2.0, 0.0, 5.0), (1.0, 1.0, 5.0)]):
        rows = {k: torch.ones(2) for k in ((0, 1, 2) if step else (0, 1))}
        opt.begin_step(step)
        for k, row in rows.items():
            opt.task(k, row, losses[k])
        assert opt.finish(out)
    expected = torch.softmax(torch.tensor([0.5, 1.0, 1.0]), 0)
    assert opt.weights_before() == pytest.approx(expected.tolist())
    assert steps_of(opt, 2, {0: torch.ones(2)}, out)
