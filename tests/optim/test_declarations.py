"""What a method declares to the training loop, and the traps that lie between a declaration and a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mtbench.errors import ConfigError, UsageError
from mtbench.optim import GramWeighting, LossWeighting, MultitaskOptimizer, hyper, reset_field
from mtbench.registry import entries, get_optimizer

BUILT_IN = sorted(name for name, entry in entries("optimizer").items() if entry.builtin)
K, D = 4, 30


class Drawn(LossWeighting):
    """Weights drawn where they are asked for: in ``weights_before``, from the generator."""

    name = "drawn"
    summary = "weights at random"
    random = True

    def weights_before(self) -> list[float]:
        return [float(w) for w in self.generator.dirichlet(np.ones(self.num_tasks))]


class Proportional(LossWeighting):
    """Weights in proportion to the losses; refuses to look at one that is not finite."""

    name = "proportional"
    summary = "weights in proportion to the losses"

    def weights_from_losses(self, losses: np.ndarray) -> np.ndarray:
        assert np.isfinite(losses).all(), losses
        assert len(losses) == len(self.tasks)
        return losses / losses.sum()


class Fixed(LossWeighting):
    """Weights 0, .2, .3, .5, known before."""

    name = "fixed"
    summary = "fixed weights"
    state = ("seen",)
    step: float = hyper(1.0, ge=0)
    reset_on_episode: bool = reset_field()

    def init_state(self) -> None:
        self.seen = np.zeros(self.num_tasks)

    def weights_before(self) -> list[float]:
        return [0.0, 0.2, 0.3, 0.5]

    def observe(self, losses: np.ndarray) -> None:
        self.seen[self.tasks] += 1


class Watching(GramWeighting):
    """A Gram method that looks at the losses after the step, and wants them before it."""

    name = "watching"
    summary = "uniform, and watches"
    needs_losses = True

    def open_step(self, losses: Sequence[float] | None) -> None:
        super().open_step(losses)
        self.told = losses

    def weights_from_gram(self, gram: np.ndarray, losses: np.ndarray) -> np.ndarray:
        return np.full(len(gram), 1 / len(gram))

    def after_step(self, loss_fn: Callable[[], Sequence[float]]) -> None:
        self.after = loss_fn()


def started(cls: type[MultitaskOptimizer], **params: Any) -> MultitaskOptimizer:
    opt = cls(**params)
    opt.start(torch.linspace(-1, 1, D, dtype=torch.float64), K, 20, seed=3, task_sizes=list(range(10, 10 + K)))
    return opt


def batch(seed: int) -> tuple[Tensor, list[float]]:
    draws = torch.Generator().manual_seed(seed)
    gradients = torch.randn(K, D, generator=draws, dtype=torch.float64)
    return gradients, (torch.rand(K, generator=draws, dtype=torch.float64) + 0.5).tolist()


def step(
    opt: MultitaskOptimizer,
    number: int,
    gradients: Tensor,
    losses: Sequence[float],
    *,
    given: Sequence[int] = range(K),
    told: Sequence[float] | None = None,
    tasks: Sequence[int] | None = None,
) -> Tensor | None:
    """One step with the tasks ``given``; the update, or None where the step does not count."""
    out = torch.empty(D, dtype=gradients.dtype)
    more = {"gradient_at": lambda k, offset, draw=0: (gradients[k] + offset, 1.0)} if opt.perturbs else {}
    opt.begin_step(number, told, tasks=tasks, **more)  # type: ignore[arg-type]
    for draw in [*range(1, opt.draws), 0]:
        for k in given:
            opt.task(k, gradients[k], losses[k], draw)
    return out if opt.finish(out) else None


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_method_says_what_the_loop_must_do_for_it(name: str) -> None:
    opt = get_optimizer(name)()
    known_in_advance = not isinstance(opt, LossWeighting) or name in ("famo",) or opt_knows(opt)
    assert opt.needs_losses is not known_in_advance
    assert opt.uses_after_step is (name == "famo")


def opt_knows(opt: MultitaskOptimizer) -> bool:
    """Whether its weights are known before the step, found out by asking it."""
    opt.start(torch.zeros(D), K, 20, task_sizes=[1] * K)
    return opt.weights_before() is not None


def test_any_method_may_ask_for_the_losses_before_and_after() -> None:
    opt = started(Watching)
    assert opt.needs_losses and opt.uses_after_step
    assert not started(Fixed).needs_losses and not started(Fixed).uses_after_step
    assert started(Proportional).needs_losses


def test_a_draw_in_weights_before_is_made_once_a_step_however_often_the_loop_asks() -> None:
    expected, asked = started(Drawn), started(Drawn)
    for number in range(5):
        gradients, losses = batch(number)
        assert not asked.needs_losses and not asked.needs_losses
        update = step(asked, number, gradients, losses)
        assert not asked.needs_losses
        assert torch.equal(update, step(expected, number, gradients, losses))  # type: ignore[arg-type]
        assert asked.report()["weights"] == expected.report()["weights"]
    draws = np.random.default_rng([3, 0, *b"drawn"])
    for _ in range(5):
        weights = draws.dirichlet(np.ones(K))
    assert asked.report()["weights"] == weights.tolist()


def test_a_step_that_does_not_count_draws_nothing() -> None:
    disturbed, calm = started(Drawn), started(Drawn)
    for number in range(4):
        gradients, losses = batch(number)
        broken = gradients.clone()
        broken[2, 5] = torch.nan
        assert step(disturbed, number, broken, losses) is None
        assert torch.equal(step(disturbed, number, gradients, losses), step(calm, number, gradients, losses))  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_loss_that_is_not_finite_never_reaches_a_method(bad: float) -> None:
    opt = started(Proportional)
    gradients, losses = batch(0)
    broken = [*losses[:2], bad, losses[3]]
    assert step(opt, 0, gradients, broken, told=broken) is None
    assert step(opt, 0, gradients, [bad] * K, told=[bad] * K) is None
    assert step(opt, 0, gradients, losses, told=broken) is None, "what was told is what the weights are made of"
    assert opt.skipped_steps == 3
    assert step(opt, 1, gradients, losses, told=losses) is not None
    assert opt.report()["weights"] == pytest.approx(np.divide(losses, sum(losses)).tolist())


def test_a_task_that_is_announced_without_a_loss_and_stays_away_is_missing() -> None:
    gradients, losses = batch(1)
    told = [*losses[:2], float("nan"), losses[3]]
    update = step(started(Proportional), 0, gradients, losses, given=[0, 1, 3], told=told)
    expected = step(started(Proportional), 0, gradients, losses, given=[0, 1, 3])
    torch.testing.assert_close(update, expected, rtol=1e-12, atol=1e-12)


def test_a_missing_task_s_weight_goes_to_the_others() -> None:
    opt = started(Fixed)
    gradients, losses = batch(2)
    update = step(opt, 0, gradients, losses, given=[0, 1, 2])
    torch.testing.assert_close(update, 0.4 * gradients[1] + 0.6 * gradients[2])
    update = step(opt, 1, gradients, losses, given=[1, 2, 3])  # the missing one has no weight to give
    torch.testing.assert_close(update, 0.2 * gradients[1] + 0.3 * gradients[2] + 0.5 * gradients[3])


def test_deliberate_absence_is_not_made_up_for() -> None:
    opt = started(Fixed)
    gradients, losses = batch(3)
    for k, weight in enumerate([0.0, 0.2, 0.3, 0.5]):  # one task a step, four steps: together the whole gradient
        update = step(opt, k, gradients, losses, given=[k], tasks=[k])
        torch.testing.assert_close(update, 4 * weight * gradients[k])
        assert opt.report()["weights"] == pytest.approx([4 * weight if j == k else 0.0 for j in range(K)])
    update = step(opt, 4, gradients, losses, given=[3, 0], tasks=[0, 3])
    torch.testing.assert_close(update, 2 * 0.5 * gradients[3])
    assert opt.seen.tolist() == [2, 1, 1, 2]  # type: ignore[attr-defined]


def test_an_accident_among_the_tasks_of_a_step_is_made_up_for_among_them() -> None:
    gradients, losses = batch(4)
    update = step(started(Fixed), 0, gradients, losses, given=[2], tasks=[1, 2])
    torch.testing.assert_close(update, 2 * 0.5 * gradients[2])


def test_weights_from_the_losses_of_a_step_s_own_tasks_are_in_mean_form_already() -> None:
    gradients, losses = batch(5)
    told = [losses[0], float("nan"), losses[2], float("nan")]
    for known in (None, told):
        opt = started(Proportional)
        update = step(opt, 0, gradients, losses, given=[2, 0], tasks=[0, 2], told=known)
        shares = np.array([losses[0], losses[2]]) / (losses[0] + losses[2])
        torch.testing.assert_close(update, shares[0] * gradients[0] + shares[1] * gradients[2])


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_method_takes_steps_of_some_tasks(name: str) -> None:
    opt = started(get_optimizer(name))
    for number in range(3):
        gradients, losses = batch(number)
        update = step(opt, number, gradients, losses, given=[1, 3], tasks=[3, 1])
        assert update is not None and torch.isfinite(update).all()
        assert opt.report()["weights"][0] == opt.report()["weights"][2] == 0.0


def test_the_tasks_of_a_step_are_checked() -> None:
    opt = started(Fixed)
    for wrong in ([], [1, 1], [K], [-1]):
        with pytest.raises(UsageError, match="tasks of a step"):
            opt.begin_step(0, tasks=wrong)
    opt.begin_step(0, tasks=[1, 2])
    with pytest.raises(UsageError, match=r"task 3 is not one of this step's: 1, 2"):
        opt.task(3, torch.zeros(D), 1.0)


@pytest.mark.parametrize("version", [0, "2", True])
def test_a_version_is_a_whole_number(version: object) -> None:
    with pytest.raises(ConfigError, match="Versioned: version must be a whole number, at least 1"):
        type("Versioned", (LossWeighting,), {"name": "versioned", "summary": "x", "version": version})
