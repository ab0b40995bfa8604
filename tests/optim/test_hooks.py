"""What a method may ask of the loop: batches of its own choice, several draws, gradients at other points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from mtbench.errors import UsageError
from mtbench.optim import Cost, GradientCombining, LossWeighting, MultitaskOptimizer
from mtbench.registry import get_optimizer

SIMPLEX = ("groupdro", "excessmtl", "moco", "idro", "cgd")
"""Methods whose weights are shares of one, kept from step to step."""


def rows(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def begun(opt: MultitaskOptimizer, num_tasks: int = 3, size: int = 5) -> MultitaskOptimizer:
    opt.start(torch.zeros(size, dtype=torch.float64), num_tasks, 100)
    return opt


class Cross(GradientCombining):
    """The row of draw 0 that the product of draws 1 and 2 is largest for."""

    name = "cross"
    summary = "for tests"
    draws = 3

    def combine_gradients(self, gradients: Tensor, losses: np.ndarray) -> Tensor:
        products = [float(self.row(k, 1) @ self.row(k, 2)) for k in self.tasks]
        return self.row(self.tasks[int(np.argmax(products))])


class Sharpness(MultitaskOptimizer):
    """SAM on the mean gradient, all of it in the second pass."""

    name = "sharpness"
    summary = "for tests"
    cost: ClassVar[Cost] = "norms"
    perturbs = True

    def open_step(self, losses: Sequence[float] | None) -> None:
        self.total = torch.zeros_like(self.theta)

    def add_task(self, k: int, gradient: Tensor) -> None:
        self.total += gradient

    def second_pass(self) -> None:
        offset = 0.1 * self.total / self.total.norm()
        self.total = torch.zeros_like(self.theta)
        for k in self.present:
            self.total += self.gradient_at(k, offset)[0]

    def write_update(self, out: Tensor) -> None:
        out.copy_(self.total / len(self.present))
        self.set_report([1 / len(self.present)] * len(self.present))


class Sampler(LossWeighting):
    """Queries go where losses are high."""

    name = "sampler"
    summary = "for tests"
    state = ("seen",)

    def init_state(self) -> None:
        self.seen = np.ones(self.num_tasks)

    def shares(self) -> list[float]:
        return (self.seen / self.seen.sum()).tolist()

    def weights_before(self) -> list[float]:
        assert self.sizes is not None
        return [size / sum(self.sizes) for size in self.sizes]

    def observe(self, losses: np.ndarray) -> None:
        self.seen[self.tasks] = losses


# -- several draws -----------------------------------------------------------------------------------------------------


def test_several_draws_come_as_one_array_or_one_by_one() -> None:
    gradients, losses = rows(3, 3, 5), torch.ones(3, 3)
    whole = begun(Cross()).combine(gradients, losses)
    opt, out = begun(Cross()), torch.empty(5, dtype=torch.float64)
    opt.begin_step(0)
    for draw in (1, 2, 0):
        for k in (2, 0, 1):
            opt.task(k, gradients[draw, k], 1.0, draw=draw)
    assert opt.finish(out)
    best = int((gradients[1] * gradients[2]).sum(1).argmax())
    assert torch.equal(out, whole) and torch.equal(out, gradients[0, best])


def test_one_matrix_stands_for_all_draws() -> None:
    gradients = rows(3, 5)
    got = begun(Cross()).combine(gradients, torch.ones(3))
    assert torch.equal(got, gradients[int(gradients.square().sum(1).argmax())])


def test_draws_out_of_turn_are_refused() -> None:
    g = rows(5)
    opt = begun(Cross())
    opt.begin_step(0)
    with pytest.raises(UsageError, match=r"3 independent draws of each task: give task\(0, gradient, loss, draw=1\)"):
        opt.task(0, g, 1.0)
    opt.task(0, g, 1.0, draw=1)
    opt.task(0, g, 1.0, draw=2)
    with pytest.raises(UsageError, match="draw 1 of task 1 is out of turn; draws come in the order 1, 2, 0"):
        opt.task(1, g, 1.0, draw=1)
    with pytest.raises(UsageError, match="given twice"):
        opt.task(0, g, 1.0, draw=2)
    with pytest.raises(UsageError, match="out of turn"):
        opt.task(1, g, 1.0, draw=3)


def test_a_task_with_some_of_its_draws_is_refused() -> None:
    g = rows(5)
    opt = begun(Cross())
    opt.begin_step(0)
    for k, draw in ((0, 1), (1, 1), (0, 2), (1, 2), (0, 0)):
        opt.task(k, g, 1.0, draw=draw)
    with pytest.raises(UsageError, match=r"draws of the tasks \[1\] are not complete"):
        opt.finish(torch.empty_like(g))


def test_a_method_of_one_draw_takes_no_other() -> None:
    opt = begun(get_optimizer("naive")())
    opt.begin_step(0)
    with pytest.raises(UsageError, match="out of turn"):
        opt.task(0, rows(5), 1.0, draw=1)


@pytest.mark.parametrize("what", ["gradient", "loss"])
def test_a_step_whose_other_draw_is_not_finite_does_not_count(what: str) -> None:
    gradients, losses = rows(3, 3, 5), torch.ones(3, 3)
    if what == "gradient":
        gradients[2, 1, 3] = torch.inf
    else:
        losses[1, 0] = torch.nan
    opt = begun(Cross())
    assert not opt.combine(gradients, losses).any() and opt.skipped_steps == 1


# -- other points ------------------------------------------------------------------------------------------------------


def test_a_second_pass_gets_gradients_at_another_point() -> None:
    centres, theta = rows(3, 5), rows(5, seed=1)

    def at(k: int, offset: Tensor, draw: int = 0) -> tuple[Tensor, float]:
        return theta + offset - centres[k], 1.0

    opt = Sharpness()
    opt.start(theta, 3, 10)
    first = theta - centres
    got = opt.combine(first, torch.ones(3), gradient_at=at)
    mean = first.mean(0)
    torch.testing.assert_close(got, mean * (1 + 0.1 / mean.norm()))


@pytest.mark.parametrize("broken", ["gradient", "loss"])
def test_a_gradient_of_the_second_pass_that_is_not_finite_skips_the_step(broken: str) -> None:
    bad = torch.full((5,), torch.nan, dtype=torch.float64)

    def at(k: int, offset: Tensor, draw: int = 0) -> tuple[Tensor, float]:
        return (bad, 1.0) if broken == "gradient" else (offset, torch.nan)

    opt = begun(Sharpness())
    assert not opt.combine(rows(3, 5), torch.ones(3), gradient_at=at).any() and opt.skipped_steps == 1


def test_a_method_that_perturbs_says_what_it_needs() -> None:
    with pytest.raises(UsageError, match="sharpness needs gradients at perturbed points: give begin_step"):
        begun(Sharpness()).begin_step(0)


# -- the choice of the batch ------------------------------------------------------------------------------------------


def test_a_sampling_method_weighs_each_task_by_its_queries() -> None:
    opt, gradients = begun(Sampler()), rows(3, 5)
    out = torch.empty(5, dtype=torch.float64)
    opt.begin_step(0, sizes=[6, 0, 2])
    for k in (0, 2):
        opt.task(k, gradients[k], 1.0 + k)
    assert opt.finish(out)
    torch.testing.assert_close(out, 0.75 * gradients[0] + 0.25 * gradients[2])
    assert opt.report()["weights"] == [0.75, 0, 0.25]
    assert opt.shares() == [0.2, 0.2, 0.6]
    with pytest.raises(UsageError, match="task 1 is not one of this step's"):
        opt.begin_step(1, sizes=[6, 0, 2])
        opt.task(1, gradients[1], 1.0)


@pytest.mark.parametrize("sizes", [[1, 2], [1, -1, 2], [0, 0, 0]])
def test_bad_sizes_are_refused(sizes: list[int]) -> None:
    with pytest.raises(UsageError, match="sizes must be 3 numbers"):
        begun(Sampler()).begin_step(0, sizes=sizes)


@pytest.mark.parametrize("name", SIMPLEX)
def test_tasks_left_out_on_purpose_do_not_give_their_share_to_the_others(name: str) -> None:
    """Over all choices of the step's tasks the weights have the shares for their mean."""
    opt = begun(get_optimizer(name)())
    for step in range(8):
        opt.combine(rows(3, 5, seed=step), torch.tensor([0.1, 1.0, 6.0]))
    shares = {"task_shares": lambda v: v, "log_shares": np.exp, "log_weights": np.exp}
    (field,) = (f for f in opt.state if f in shares)
    before = shares[field](getattr(opt, field))
    assert before.max() > before.min() + 1e-4
    state, weights = opt.state_dict(), np.zeros(3)
    for k in range(3):
        opt.load_state_dict(state)
        opt.begin_step(8, tasks=[k])
        opt.task(k, rows(5, seed=k), 1.0)
        assert opt.finish(torch.empty(5, dtype=torch.float64))
        weights += np.asarray(opt.report()["weights"]) / 3
    np.testing.assert_allclose(weights, before / before.sum(), rtol=1e-6)
