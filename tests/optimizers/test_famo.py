"""FAMO against the authors' few lines in torch, and its contract."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from optimizer_cases import random_gradients, steps_of
from torch import Tensor

from optimizers.famo import FAMO, softmax_derivative


class Original:
    """The authors' FAMO (public code), with autograd and torch's Adam, losses bounded below by 0."""

    def __init__(self, num_tasks: int, lr: float, weight_decay: float) -> None:
        self.w = torch.zeros(num_tasks, dtype=torch.float64, requires_grad=True)
        self.adam = torch.optim.Adam([self.w], lr=lr, weight_decay=weight_decay)

    def weights(self, losses: Tensor) -> Tensor:
        self.losses = losses
        z = torch.softmax(self.w, -1)
        c = (z / losses).sum().detach()
        return (z / losses / c).detach()

    def update(self, after: Tensor) -> None:
        delta = self.losses.log() - after.log()
        with torch.enable_grad():
            (d,) = torch.autograd.grad(torch.softmax(self.w, -1), self.w, grad_outputs=delta)
        self.adam.zero_grad()
        self.w.grad = d
        self.adam.step()


def started(num_tasks: int = 3, **params: float) -> FAMO:
    opt = FAMO(**params)  # type: ignore[arg-type]
    opt.start(torch.zeros(20, dtype=torch.float64), num_tasks, 50)
    return opt


@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
def test_equals_the_original(weight_decay: float) -> None:
    opt, original = started(weight_decay=weight_decay), Original(3, 0.025, weight_decay)
    for seed in range(30):
        gradients = random_gradients(3, 20, seed)
        losses = torch.rand(3, dtype=torch.float64) + 0.1
        after = losses * (torch.rand(3, dtype=torch.float64) + 0.5)
        weights = original.weights(losses)
        torch.testing.assert_close(opt.combine(gradients, losses), weights @ gradients, rtol=1e-9, atol=1e-12)
        assert opt.report()["weights"] == pytest.approx(weights.tolist(), rel=1e-9)
        opt.after_step(after.tolist)
        original.update(after)
        np.testing.assert_allclose(opt.logits, original.w.detach().numpy(), rtol=1e-9, atol=1e-12)


def test_derivative_is_that_of_the_softmax() -> None:
    logits = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64, requires_grad=True)
    delta = torch.tensor([0.5, 0.1, -0.7], dtype=torch.float64)
    (torch.softmax(logits, 0) @ delta).backward()
    assert logits.grad is not None
    np.testing.assert_allclose(softmax_derivative(logits.detach().numpy(), delta.numpy()), logits.grad, rtol=1e-12)


def test_keeps_no_rows_and_needs_no_losses_ahead() -> None:
    opt = started()
    assert not opt.needs_losses and opt.weights_before() is None
    out, flat = torch.empty(20, dtype=torch.float64), torch.empty(20, dtype=torch.float64)
    gradients = random_gradients(3, 20, 0)
    opt.begin_step(0)
    for k in (2, 0, 1):
        flat.copy_(gradients[k])
        opt.task(k, flat, [1.0, 2.0, 4.0][k])
        assert not opt._rows
    assert opt.finish(out)
    weights = torch.tensor([4.0, 2.0, 1.0], dtype=torch.float64) / 7
    torch.testing.assert_close(out, weights @ gradients)


def test_a_step_that_does_not_count_moves_nothing() -> None:
    opt = started()
    gradients = random_gradients(3, 20, 0)
    gradients[1, 3] = torch.nan
    assert not opt.combine(gradients, torch.ones(3)).any()
    opt.after_step(lambda: pytest.fail("the losses of a skipped step are not asked for"))
    assert not opt.logits.any()
    opt.combine(random_gradients(3, 20, 0), torch.ones(3))
    opt.after_step(lambda: [1.0, float("nan"), 1.0])
    assert not opt.logits.any()


def test_a_missing_task_keeps_its_logit() -> None:
    opt = started()
    gradients, out = random_gradients(3, 20, 0), torch.empty(20, dtype=torch.float64)
    assert steps_of(opt, 0, {2: gradients[2], 0: gradients[0]}, out)
    torch.testing.assert_close(out, (gradients[0] + gradients[2]) / 2)
    opt.after_step(lambda: [0.5, 0.9, 1.0])
    assert opt.logits[1] == 0.0 and opt.logits[0] < 0 < opt.logits[2]


def test_one_huge_loss_is_forgotten() -> None:
    opt, gradients = started(), random_gradients(3, 20, 0)
    opt.combine(gradients, torch.tensor([1e12, 1.0, 1.0]))
    updates = [opt.combine(gradients, torch.tensor(losses)) for losses in ([1.0, 2.0, 4.0],) * 2]
    expected = (gradients / torch.tensor([[1.0], [2.0], [4.0]])).sum(0) / 1.75
    torch.testing.assert_close(updates[1], expected)


@pytest.mark.parametrize("losses", [[0.0, 1.0, 1.0], [-1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [1e-30, 1e30, 1.0]])
def test_odd_losses_stay_finite(losses: list[float]) -> None:
    opt = started()
    for seed in range(5):
        update = opt.combine(random_gradients(3, 20, seed), torch.tensor(losses, dtype=torch.float64))
        assert torch.isfinite(update).all()
        opt.after_step(lambda: losses[::-1])
        assert np.isfinite(opt.logits).all()
