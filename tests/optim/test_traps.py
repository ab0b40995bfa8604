"""Traps between the loop and a method, tried on every method that comes with mtbench: draws that a question moves,
losses that are not finite and told before the step, tasks that are left out on purpose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mtbench.optim import LossWeighting, MultitaskOptimizer
from mtbench.registry import entries, get_optimizer

NAMES = sorted(
    name for name, entry in entries("optimizer").items() if entry.builtin and not get_optimizer(name).perturbs
)
K, D = 4, 24
OTHER = {"naive": {"weights": "size"}, "static": {"weights": [3, 1, 0, 2]}, "dwa": {"window": 2}}


def started(name: str) -> MultitaskOptimizer:
    opt = get_optimizer(name)(**OTHER.get(name, {}))
    opt.start(torch.linspace(-1, 1, D, dtype=torch.float64), K, 40, seed=5, task_sizes=[10, 20, 30, 40])
    return opt


KNOWN = [n for n in NAMES if isinstance(opt := started(n), LossWeighting) and opt.weights_before() is not None]


def batch(seed: int) -> tuple[Tensor, list[float]]:
    draws = torch.Generator().manual_seed(seed)
    gradients = torch.randn(K, D, generator=draws, dtype=torch.float64)
    return gradients, (torch.rand(K, generator=draws, dtype=torch.float64) + 0.5).tolist()


def step(
    opt: MultitaskOptimizer,
    number: int,
    seed: int,
    *,
    told: Sequence[float] | None = None,
    tasks: Sequence[int] | None = None,
) -> Tensor | None:
    """The update of one step; None where it does not count."""
    gradients, losses = batch(seed)
    out = torch.empty(D, dtype=torch.float64)
    opt.begin_step(number, told, tasks=tasks)
    for draw in [*range(1, opt.draws), 0]:
        for k in range(K) if tasks is None else tasks:
            opt.task(k, gradients[k], losses[k], draw)
    if not opt.finish(out):
        return None
    opt.after_step([0.97 * v for v in losses].copy)
    return out


@pytest.mark.parametrize("name", NAMES)
def test_questions_move_nothing(name: str) -> None:
    asked, calm = started(name), started(name)
    for number in range(5):
        for _ in range(3):
            _ = asked.needs_losses, asked.uses_after_step, asked.params, asked.report(), asked.counts()
            _ = asked.state_dict(), asked.state_bytes(), asked.shares()
        assert torch.equal(step(asked, number, number), step(calm, number, number))  # type: ignore[arg-type]
    assert same(asked.state_dict(), calm.state_dict())


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", NAMES)
def test_a_loss_told_before_the_step_that_is_not_finite_leaves_no_trace(name: str, bad: float) -> None:
    disturbed, calm = started(name), started(name)
    for opt in (disturbed, calm):
        step(opt, 0, 0)
    for broken in ([bad, 1.0, 1.0, 1.0], [1.0, 1.0, bad, 1.0], [bad] * K):
        before = disturbed.state_dict()
        assert step(disturbed, 1, 1, told=broken) is None
        after = disturbed.state_dict()
        assert same(before["state"], after["state"]) and same(before["generator"], after["generator"])
    assert disturbed.skipped_steps == 3
    for number in range(1, 6):
        assert torch.equal(step(disturbed, number, number), step(calm, number, number))  # type: ignore[arg-type]


def same(one: Any, other: Any) -> bool:
    """Equal bit by bit, through containers."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, (Tensor, np.ndarray)):
        return np.array_equal(np.asarray(one), np.asarray(other), equal_nan=True)
    return bool(one == other)


def copy_of(opt: MultitaskOptimizer) -> MultitaskOptimizer:
    twin: Any = started(opt.name)
    twin.load_state_dict(opt.state_dict())
    return twin  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", KNOWN)
def test_weights_known_before_are_used_as_they_are_where_the_other_tasks_are_left_out_on_purpose(name: str) -> None:
    opt = started(name)
    for number in range(5):
        step(opt, number, number)
    whole = np.asarray(copy_of(opt).weights_before())
    gradients, _ = batch(9)
    for tasks in ([0], [1], [2], [3], [0, 3], [1, 2, 3]):
        factor = K / len(tasks)
        twin = copy_of(opt)
        update = step(twin, 5, 9, tasks=tasks)
        expected = sum(factor * whole[k] * gradients[k] for k in tasks)
        torch.testing.assert_close(update, expected, rtol=1e-9, atol=1e-12)
        found = np.zeros(K)
        found[tasks] = factor * whole[tasks]
        np.testing.assert_allclose(twin.report()["weights"], found, rtol=1e-9, atol=1e-12)


def test_which_methods_know_their_weights_before() -> None:
    assert {"naive", "static", "rlw", "uw", "dwa", "gradnorm", "imtl_l"} <= set(KNOWN)


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_of_a_task_that_is_left_out_on_purpose_is_not_missed(name: str) -> None:
    """Told as NaN or not told at all: the step counts, and is the same."""
    silent, told = started(name), started(name)
    for number in range(4):
        losses = batch(number)[1]
        update = step(silent, number, number, tasks=[0, 1, 3])
        expected = step(told, number, number, tasks=[3, 0, 1], told=[*losses[:2], float("nan"), losses[3]])
        torch.testing.assert_close(update, expected, rtol=1e-9, atol=1e-12)
        assert silent.report()["weights"][2] == 0 == silent.skipped_steps
