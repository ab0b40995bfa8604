"""MultitaskStep: the contract in anyone's loop gives what the contract itself gives."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mtbench.errors import ConfigError, UsageError
from mtbench.optim.step import MultitaskStep
from mtbench.registry import get_optimizer

TASKS = ["nq", "fever", "wow"]
STEPS = 6


def model(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 1)).to(dtype)


def batch(step: int, task: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(100 * step + task)
    x = torch.randn(8, 5, generator=generator)
    return x.to(dtype), (x[:, task : task + 1] * (task - 1.5)).to(dtype)


def loss_of(net: nn.Module, step: int, task: int, dtype: torch.dtype = torch.float32) -> Tensor:
    x, y = batch(step, task, dtype)
    return nn.functional.mse_loss(net(x), y)


def by_contract(name: str, **params: Any) -> list[Tensor]:
    """Flat parameters after each step: task gradients by autograd, ``combine``, Adam."""
    net = model()
    adam = torch.optim.AdamW(net.parameters(), lr=0.05)
    opt = get_optimizer(name)(**params)
    parameters = list(net.parameters())
    layout, start = [], 0
    for label, p in net.named_parameters():
        layout.append((label, start, start + p.numel()))
        start += p.numel()
    theta = torch.cat([p.detach().reshape(-1) for p in parameters])
    opt.start(theta, len(TASKS), STEPS, layout=layout)
    found = []
    for step in range(STEPS):
        theta.copy_(torch.cat([p.detach().reshape(-1) for p in parameters]))
        losses = [loss_of(net, step, k) for k in range(len(TASKS))]
        rows = torch.stack([torch.cat([g.reshape(-1) for g in torch.autograd.grad(v, parameters)]) for v in losses])
        opt.begin_step(step)
        for k, row in enumerate(rows):
            opt.task(k, row, losses[k].detach())
        update = torch.empty_like(theta)
        assert opt.finish(update)
        for p, (_, a, b) in zip(parameters, layout, strict=True):
            p.grad = update[a:b].view_as(p).clone()
        adam.step()
        opt.after_step(lambda step=step: [float(loss_of(net, step, k).detach()) for k in range(len(TASKS))])
        found.append(torch.cat([p.detach().reshape(-1) for p in parameters]))
    return found


def by_step(name: str, forget: bool = True, **params: Any) -> list[Tensor]:
    net = model()
    adam = torch.optim.AdamW(net.parameters(), lr=0.05)
    mt = MultitaskStep(name, net.named_parameters(), TASKS, STEPS, **params)
    found = []
    for step in range(STEPS):
        with mt.step():
            for k, task in enumerate(TASKS):
                mt.backward(task, loss_of(net, step, k))
        adam.step()
        mt.after_step(lambda step=step: [float(loss_of(net, step, k).detach()) for k in range(len(TASKS))])
        adam.zero_grad(set_to_none=forget)
        found.append(torch.cat([p.detach().reshape(-1) for p in net.parameters()]))
    return found


@pytest.mark.parametrize("forget", [True, False], ids=["grads to None", "grads to zero"])
@pytest.mark.parametrize("name", ["naive", "pcgrad", "tsage", "gradnorm", "uw", "famo", "graddrop", "dbmtl", "nash"])
def test_equals_the_contract(name: str, forget: bool) -> None:
    for mine, theirs in zip(by_step(name, forget), by_contract(name), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-7)


def test_naive_is_the_gradient_of_the_mean_loss() -> None:
    net = model()
    mt = MultitaskStep("naive", net.parameters(), TASKS, 1)
    with mt.step():
        for k, task in enumerate(TASKS):
            mt.backward(task, loss_of(net, 0, k))
    expected = torch.autograd.grad(sum(loss_of(net, 0, k) for k in range(3)) / 3, list(net.parameters()))
    for p, wanted in zip(net.parameters(), expected, strict=True):
        torch.testing.assert_close(p.grad, wanted)
    assert mt.report()["weights"] == pytest.approx({"nq": 1 / 3, "fever": 1 / 3, "wow": 1 / 3})


def test_several_backward_passes_of_a_task_add_up() -> None:
    whole, parts = model(), model()
    first, second = (MultitaskStep("pcgrad", net.parameters(), TASKS, 1) for net in (whole, parts))
    with first.step(), second.step():
        for k, task in enumerate(TASKS):
            first.backward(task, loss_of(whole, 0, k))
            x, y = batch(0, k)
            for half in (slice(0, 4), slice(4, 8)):
                second.backward(task, nn.functional.mse_loss(parts(x[half]), y[half]) / 2)
    assert second.optimizer.losses == pytest.approx(first.optimizer.losses)
    for p, q in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad)


def test_under_a_scaler_the_method_sees_unscaled_gradients() -> None:
    plain, scaled = model(), model()
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    adam = torch.optim.SGD(scaled.parameters(), lr=0.1)
    first, second = (MultitaskStep("cagrad", net.parameters(), TASKS, 1) for net in (plain, scaled))
    with first.step(), second.step():
        for k, task in enumerate(TASKS):
            first.backward(task, loss_of(plain, 0, k))
            second.backward(task, loss_of(scaled, 0, k), scaler=scaler)
    scaler.unscale_(adam)
    for p, q in zip(plain.parameters(), scaled.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad)


def test_a_step_that_is_not_finite_moves_nothing() -> None:
    net = model()
    adam = torch.optim.AdamW(net.parameters(), lr=0.1)
    mt = MultitaskStep("pcgrad", net.parameters(), TASKS, 2)
    before = [p.detach().clone() for p in net.parameters()]
    with mt.step():
        mt.backward("nq", loss_of(net, 0, 0))
        mt.backward("fever", loss_of(net, 0, 1) * torch.nan)
    assert mt.skipped
    adam.step()
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), before, strict=True))
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    with mt.step():
        mt.backward("nq", loss_of(net, 0, 0) * torch.inf, scaler=scaler)
    scaler.step(adam)
    scaler.update()
    assert scaler.get_scale() == 32.0
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), before, strict=True))


def test_short_floats_are_combined_in_float32() -> None:
    net = model(torch.bfloat16)
    mt = MultitaskStep("pcgrad", net.parameters(), TASKS, 1)
    with mt.step():
        for k, task in enumerate(TASKS):
            mt.backward(task, loss_of(net, 0, k, torch.bfloat16))
    assert all(p.grad is not None and p.grad.dtype == torch.bfloat16 for p in net.parameters())
    assert mt.optimizer.theta.dtype == torch.float32


@pytest.mark.parametrize("name", ["tsage", "gradnorm", "rlw", "excessmtl"])
def test_a_resumed_run_is_the_same_run(name: str) -> None:
    whole = by_step(name)
    net = model()
    adam = torch.optim.AdamW(net.parameters(), lr=0.05)
    mt = MultitaskStep(name, net.named_parameters(), TASKS, STEPS)
    for step in range(STEPS):
        if step == 3:
            state = mt.state_dict()
            mt = MultitaskStep(name, net.named_parameters(), TASKS, STEPS)
            mt.load_state_dict(state)
        with mt.step():
            for k, task in enumerate(TASKS):
                mt.backward(task, loss_of(net, step, k))
        adam.step()
    torch.testing.assert_close(torch.cat([p.detach().reshape(-1) for p in net.parameters()]), whole[-1])


def test_ranks_average_gradients_and_losses() -> None:
    """Two 'ranks' with half of each batch, averaged by the hooks, equal one process with the whole."""
    whole, half = model(), model()
    one = MultitaskStep("cagrad", whole.parameters(), TASKS, 1)
    other = iter([])

    def average(tensor: Tensor) -> None:
        tensor.copy_((tensor + next(other)) / 2)

    mine = MultitaskStep("cagrad", half.parameters(), TASKS, 1, reduce=average, reduce_loss=average)
    theirs = []
    for k in range(3):
        x, y = batch(0, k)
        loss = nn.functional.mse_loss(half(x[4:]), y[4:])
        theirs += [
            torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, list(half.parameters()))]),
            loss.detach().double().view(1),
        ]
    other = iter(theirs)
    with one.step(), mine.step():
        for k, task in enumerate(TASKS):
            one.backward(task, loss_of(whole, 0, k))
            x, y = batch(0, k)
            mine.backward(task, nn.functional.mse_loss(half(x[:4]), y[:4]))
    assert mine.optimizer.losses == pytest.approx(one.optimizer.losses)
    for p, q in zip(whole.parameters(), half.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad)


def test_mistakes_are_told() -> None:
    net = model()
    mt = MultitaskStep("naive", net.parameters(), TASKS, 1)
    with pytest.raises(UsageError, match="inside"):
        mt.backward("nq", loss_of(net, 0, 0))
    with pytest.raises(UsageError, match="at least one task"), mt.step():
        pass
    with pytest.raises(UsageError, match="the tasks are nq, fever, wow"), mt.step():
        mt.backward("zsre", loss_of(net, 0, 0))
    with pytest.raises(UsageError, match="given twice"), mt.step():
        for task in ("nq", "fever", "nq"):
            mt.backward(task, loss_of(net, 0, 0))
    assert all(p.grad is None for p in net.parameters())
    with pytest.raises(UsageError, match="one number"), mt.step():
        mt.backward("nq", net(torch.ones(2, 5)))
    with pytest.raises(ConfigError, match="distinct"):
        MultitaskStep("naive", net.parameters(), ["a", "a"], 1)
    with pytest.raises(ConfigError, match="no parameter"):
        MultitaskStep("naive", [], TASKS, 1)
    with pytest.raises(ConfigError, match="of the tasks"):
        MultitaskStep("naive", net.parameters(), ["a"], 1).load_state_dict(mt.state_dict())


def test_needs_neither_the_harness_nor_its_libraries() -> None:
    code = (
        "import sys, torch; from mtbench.optim.step import MultitaskStep; net = torch.nn.Linear(2, 1)\n"
        "mt = MultitaskStep('tsage', net.parameters(), ['a'], 1)\n"
        "with mt.step(): mt.backward('a', net(torch.ones(1, 2)).sum())\n"
        "heavy = {'ray', 'transformers', 'pandas', 'faiss', 'pydantic', 'mtbench.pipeline', 'mtbench.execution'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
