"""MultitaskStep: the contract in anyone's loop gives what the contract itself gives."""

from __future__ import annotations

import copy
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mtbench.errors import ConfigError, UsageError
from mtbench.optim.step import MultitaskStep
from mtbench.registry import entries, get_optimizer

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
    with pytest.raises(ConfigError, match="given twice"):
        MultitaskStep("naive", [*net.parameters(), *net.parameters()], TASKS, 1)
    with pytest.raises(ConfigError, match="no parameter"):
        MultitaskStep("naive", [], TASKS, 1)
    with pytest.raises(ConfigError, match="of the tasks"):
        MultitaskStep("naive", net.parameters(), ["a"], 1).load_state_dict(mt.state_dict())


def test_a_scale_that_has_fallen_to_one_is_still_a_scaler() -> None:
    net = model()
    adam = torch.optim.AdamW(net.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=1.0)
    mt = MultitaskStep("pcgrad", net.parameters(), TASKS, 2)
    with mt.step():
        mt.backward("nq", loss_of(net, 0, 0) * torch.inf, scaler=scaler)
    scaler.step(adam)
    scaler.update()
    assert mt.skipped and scaler.get_scale() == 0.5


@pytest.mark.parametrize("name", ["pcgrad", "tsage", "gradnorm"])
def test_autocast_with_a_scaler_and_accumulation_is_the_contract(name: str) -> None:
    """Half batches under autocast, the first scales far too large: the skipped steps count for nothing."""
    nets = model(), model()
    first, second = (torch.optim.SGD(net.parameters(), lr=0.1) for net in nets)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**126, growth_interval=2)
    mt = MultitaskStep(name, nets[0].parameters(), TASKS, 40)
    opt = get_optimizer(name)()
    theta = torch.cat([p.detach().reshape(-1) for p in nets[1].parameters()])
    opt.start(theta, len(TASKS), 40)
    counted = 0
    for step in range(40):
        with mt.step():
            for k, task in enumerate(TASKS):
                for half in (slice(0, 4), slice(4, 8)):
                    mt.backward(task, cast_loss(nets[0], step, k, half) / 2, scaler=scaler)
        scaler.unscale_(first)
        torch.nn.utils.clip_grad_norm_(nets[0].parameters(), 1.0)
        scaler.step(first)
        scaler.update()
        if mt.skipped:
            continue
        counted += 1
        theta.copy_(torch.cat([p.detach().reshape(-1) for p in nets[1].parameters()]))
        losses = [[cast_loss(nets[1], step, k, h) / 2 for h in (slice(0, 4), slice(4, 8))] for k in range(3)]
        opt.begin_step(step)
        for k, halves in enumerate(losses):
            grads = torch.autograd.grad(sum(halves), list(nets[1].parameters()))
            opt.task(k, torch.cat([g.reshape(-1) for g in grads]), float(sum(halves).detach()))
        update = torch.empty_like(theta)
        assert opt.finish(update)
        torch.nn.utils.vector_to_parameters(theta, nets[1].parameters())
        start = 0
        for p in nets[1].parameters():
            p.grad = update[start : start + p.numel()].view_as(p).clone()
            start += p.numel()
        torch.nn.utils.clip_grad_norm_(nets[1].parameters(), 1.0)
        second.step()
    assert 10 < counted < 40
    for p, q in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)


def cast_loss(net: nn.Module, step: int, task: int, rows: slice) -> Tensor:
    x, y = batch(step, task)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = net(x[rows])
    return nn.functional.mse_loss(out.float(), y[rows])


def test_one_scale_a_step() -> None:
    net = model()
    mt = MultitaskStep("naive", net.parameters(), TASKS, 1)
    with pytest.raises(UsageError, match="same scaler"), mt.step():
        mt.backward("nq", loss_of(net, 0, 0), scaler=torch.amp.GradScaler("cpu"))
        mt.backward("fever", loss_of(net, 0, 1))


def test_tensors_that_take_the_place_of_a_gradient_are_read() -> None:
    """``create_graph`` puts a new tensor into ``p.grad``, as DistributedDataParallel's buckets do."""
    plain, other = model(), model()
    first, second = (MultitaskStep("pcgrad", net.parameters(), TASKS, 1) for net in (plain, other))
    with first.step(), second.step(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of the circle that create_graph makes
        for k, task in enumerate(TASKS):
            for _ in range(2):
                first.backward(task, loss_of(plain, 0, k))
                second.point(task)
                loss = loss_of(other, 0, k)
                loss.backward(create_graph=True)
                second.take(loss.detach())
    for p, q in zip(plain.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad)
    with pytest.raises(UsageError, match="set to None"), second.step():
        second.point("nq")
        other.zero_grad()
        second.take(1.0)


def test_what_no_loss_depends_on_is_left_alone() -> None:
    """Weight decay would move a parameter whose gradient is zeros, and does not where there is none."""
    nets = [nn.ModuleList([model(), nn.Linear(3, 3)]) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    before = nets[0][1].weight.detach().clone()
    adams = [torch.optim.AdamW(net.parameters(), lr=0.1, weight_decay=0.1) for net in nets]
    mt = MultitaskStep("naive", nets[0].parameters(), TASKS, 3)
    for step in range(3):
        with mt.step():
            for k, task in enumerate(TASKS):
                mt.backward(task, loss_of(nets[0][0], step, k))
        adams[1].zero_grad()
        (sum(loss_of(nets[1][0], step, k) for k in range(3)) / 3).backward()
        for adam in adams:
            adam.step()
    assert torch.equal(nets[0][1].weight, before)
    for p, q in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        torch.testing.assert_close(p, q)


def test_tasks_left_out_on_purpose_keep_known_weights() -> None:
    net = model()
    mt = MultitaskStep("naive", net.parameters(), TASKS, 2, task_sizes=[1, 2, 3], weights="size")
    with mt.step(tasks=["wow"]):
        mt.backward("wow", loss_of(net, 0, 2))
    own = torch.autograd.grad(loss_of(net, 0, 2), list(net.parameters()))
    for p, g in zip(net.parameters(), own, strict=True):
        torch.testing.assert_close(p.grad, 3 * 3 / 6 * g)
    with pytest.raises(UsageError, match="the tasks are"), mt.step(tasks=["zsre"]):
        pass


@pytest.mark.parametrize("name", ["naive", "pcgrad", "tsage", "gradnorm", "cagrad", "dbmtl"])
def test_equals_the_harness_own_training_loop(name: str, tmp_path: Path) -> None:
    """The gradients that mtbench's own loop saw, as losses <theta, g>, through a plain loop: every step is the same."""
    from training import rank_worker

    from mtbench.training.ranks import Ranks

    trainer = rank_worker.job(tmp_path, Ranks(), name, steps=STEPS)
    seen: list[tuple[int, Tensor, float]] = []
    theirs: list[Tensor] = []
    give = trainer.optimizer.task

    def noted(k: int, gradient: Tensor, loss: Any) -> None:
        seen.append((k, gradient.clone(), float(loss)))
        give(k, gradient, loss)

    trainer.optimizer.task = noted  # type: ignore[method-assign]
    before = trainer.flat.theta.clone()
    layout, generator = trainer.optimizer.layout, copy.deepcopy(trainer.optimizer.generator)
    trainer.run(lambda done, total, losses: theirs.append(trainer.flat.theta.clone()))
    mine = [(n, nn.Parameter(before[a:b].clone())) for n, a, b in layout or []]
    train = trainer.config.train
    adam = torch.optim.AdamW(
        [p for _, p in mine], lr=1.0, betas=train.adam_betas, eps=train.adam_eps, weight_decay=train.weight_decay
    )
    mt = MultitaskStep(name, mine, rank_worker.TASKS, STEPS, task_sizes=[30] * 3)
    mt.optimizer.generator = generator  # the harness seeds it with the number of the episode too
    for step in range(STEPS):
        with mt.step():
            for k, gradient, loss in seen[3 * step : 3 * step + 3]:
                flat = torch.cat([p.reshape(-1) for _, p in mine])
                linear = flat @ gradient
                mt.backward(rank_worker.TASKS[k], linear - linear.detach() + loss)
        norm = torch.cat([p.grad.reshape(-1) for _, p in mine if p.grad is not None]).norm()
        for _, p in mine:  # torch's own clipping divides by the norm plus 1e-6
            assert p.grad is not None
            p.grad.mul_(min(1.0, train.clip_norm / float(norm)))
        adam.param_groups[0]["lr"] = trainer.learning_rate(step)
        adam.step()
        found = torch.cat([p.detach().reshape(-1) for _, p in mine])
        torch.testing.assert_close(found, theirs[step], rtol=0, atol=1e-9)


def test_methods_that_only_the_harness_can_serve_are_refused() -> None:
    naive = get_optimizer("naive")
    kinds: list[tuple[dict[str, Any], str]] = [
        ({"draws": 3}, "several batches"),
        ({"perturbs": True}, "other points"),
    ]
    for members, says in kinds:
        method = type("Odd", (naive,), {"name": "odd", **members})()
        with pytest.raises(ConfigError, match=says):
            MultitaskStep(method, model().parameters(), TASKS, 1)


def test_needs_neither_the_harness_nor_its_libraries() -> None:
    """The public names, and every method in a step."""
    code = (
        "import sys, torch, mtbench.optim; from mtbench.registry import get_optimizer\n"
        "for public in mtbench.optim.__all__: getattr(mtbench.optim, public)\n"
        "K = 3; net = torch.nn.Linear(2, 1); tasks = [str(k) for k in range(K)]\n"
        "for name in sys.argv[1:]:\n"
        "    cls = get_optimizer(name)\n"
        "    if cls.draws > 1 or cls.perturbs: continue\n"
        "    mt = mtbench.optim.MultitaskStep(name, net.named_parameters(), tasks, 2, task_sizes=[5] * K)\n"
        "    with mt.step():\n"
        "        for k in tasks: mt.backward(k, net(torch.ones(1, 2) * (int(k) - 1.5)).square().sum())\n"
        "    mt.after_step(lambda: [1.0] * K); mt.load_state_dict(mt.state_dict()); mt.report()\n"
        "libraries = 'ray transformers pandas faiss pydantic pyarrow tokenizers typer rich matplotlib'.split()\n"
        "parts = 'pipeline execution data training retrieval evaluation report cli model worlds integrations'\n"
        "heavy = {*libraries, *('mtbench.' + part for part in parts.split())} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code, *entries("optimizer")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_tasks_have_their_names_in_hyperparameters_and_in_the_report() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1))
    batch = torch.randn(8, 4)
    step = MultitaskStep(
        "upgrad", model.named_parameters(), ["nq", "fever: dev"], 10, preference={"fever: dev": 3}, groups="module"
    )
    with step.step():
        for sign, task in ((1, "nq"), (-1, "fever: dev")):
            step.backward(task, (model(batch) - sign).square().mean())
    report = step.report()
    assert list(report["weights_by_block"]) == ["0", "2"]
    for weights in (report["weights"], *report["weights_by_block"].values()):
        assert list(weights) == ["nq", "fever: dev"]
        assert weights["fever: dev"] >= 0.75 - 1e-9 and weights["nq"] >= 0.25 - 1e-9
    with pytest.raises(ConfigError, match=r"static: weights: there is no task 'nqq'\. Did you mean 'nq'"):
        MultitaskStep("static", model.parameters(), ["nq", "fever"], 10, weights={"nqq": 2})
