"""What the tests of the optimizers share: worked examples, random gradients, one step task by task."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mtbench.optim.contract import MultitaskOptimizer


def examples(specs: Path) -> dict[str, Any]:
    """The worked examples by id; every list of numbers is a float64 tensor."""
    content = json.loads((specs / "optimizer_examples.json").read_text())
    return {case["id"]: _tensors(case) for case in content["checks"] + content["extension_checks"]}


def _tensors(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _tensors(v) for k, v in value.items()}
    if isinstance(value, list):
        try:
            return torch.tensor(value, dtype=torch.float64)
        except (TypeError, ValueError):
            return [_tensors(v) for v in value]
    return value


def random_gradients(num_tasks: int, size: int, seed: int) -> Tensor:
    """Gradients (num_tasks, size) of different lengths in float64."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(num_tasks, size, generator=generator, dtype=torch.float64)
    return rows * torch.rand(num_tasks, 1, generator=generator, dtype=torch.float64).add(0.5)


def steps_of(opt: MultitaskOptimizer, step: int, gradients: dict[int, Tensor], out: Tensor, loss: float = 1.0) -> bool:
    """One step of the tasks in ``gradients``, in that order."""
    opt.begin_step(step)
    for k, gradient in gradients.items():
        opt.task(k, gradient, loss)
    return opt.finish(out)
