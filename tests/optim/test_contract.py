"""The contract that the base class gives every method, and that every registered method keeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from mtbench.errors import ConfigError, UsageError
from mtbench.hyperparameters import hyper
from mtbench.optim.contract import MultitaskOptimizer, reset_field
from mtbench.optim.gram_weighting import GramWeighting
from mtbench.optim.weighting import GradientCombining, LossWeighting
from mtbench.registry import entries, get_optimizer

BUILT_IN = sorted(name for name, entry in entries("optimizer").items() if entry.builtin)
NAMES = [n for n in BUILT_IN if get_optimizer(n).draws == 1 and not get_optimizer(n).perturbs]
"""Methods that take one gradient of each task; the conformance kit tries the others."""
K, D = 4, 60


class Largest(LossWeighting):
    """All weight on the largest loss; counts its steps."""

    name = "largest"
    summary = "all weight on the largest loss"
    state = ("steps",)
    bonus: float = hyper(0.0, ge=0, le=1)
    reset_on_episode: bool = reset_field()

    def init_state(self) -> None:
        self.steps = 0

    def weights_from_losses(self, losses: np.ndarray) -> np.ndarray:
        return (losses == losses.max()).astype(float)

    def observe(self, losses: np.ndarray) -> None:
        self.steps += 1


class ByNorm(GramWeighting):
    """Weights in proportion to the inverse norms."""

    name = "by_norm"
    summary = "inverse norms"

    def weights_from_gram(self, gram: np.ndarray, losses: np.ndarray) -> np.ndarray:
        inverse = 1 / np.sqrt(np.diag(gram))
        return inverse / inverse.sum()


class Median(GradientCombining):
    """The coordinatewise median."""

    name = "median"
    summary = "coordinatewise median"

    def combine_gradients(self, gradients: Tensor, losses: np.ndarray) -> Tensor:
        return gradients.median(dim=0).values


def make(name: str, **params: Any) -> MultitaskOptimizer:
    own = {c.name: c for c in (Largest, ByNorm, Median)}
    return own[name](**params) if name in own else get_optimizer(name)(**params)


def started(name: str, num_tasks: int = K, dtype: torch.dtype = torch.float64, **params: Any) -> MultitaskOptimizer:
    theta = torch.linspace(-1, 1, D, dtype=dtype)
    opt = make(name, **params)
    opt.start(theta, num_tasks, 20, seed=3, task_sizes=list(range(10, 10 + num_tasks)))
    return opt


def batch(seed: int, num_tasks: int = K, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    gradients = torch.randn(num_tasks, D, generator=generator, dtype=torch.float64)
    losses = torch.rand(num_tasks, generator=generator, dtype=torch.float64) + 0.5
    return gradients.to(dtype), losses.to(dtype)


def run(opt: MultitaskOptimizer, seeds: range, change: Callable[[Tensor], Tensor] = lambda g: g) -> list[Tensor]:
    """The updates of a few steps, each followed by what FAMO asks for."""
    updates = []
    for seed in seeds:
        gradients, losses = batch(seed, opt.num_tasks, opt.theta.dtype)
        updates.append(opt.combine(change(gradients), losses).clone())
        opt.after_step(lambda losses=losses: (losses * 0.9 + 0.01).tolist())
    return updates


every = pytest.mark.parametrize("name", [*NAMES, "largest", "by_norm", "median"])


@every
def test_task_by_task_equals_combine_and_arguments_stay(name: str) -> None:
    whole, parts = started(name), started(name)
    flat = torch.empty(D, dtype=torch.float64)
    for seed in range(4):
        gradients, losses = batch(seed)
        kept = gradients.clone(), losses.clone(), whole.theta.clone()
        expected = whole.combine(gradients, losses)
        assert all(torch.equal(a, b) for a, b in zip(kept, (gradients, losses, whole.theta), strict=True))
        parts.begin_step(seed)
        for k in (2, 0, 3, 1):
            flat.copy_(gradients[k])
            parts.task(k, flat, losses[k])
        assert parts.finish(flat)
        torch.testing.assert_close(flat, expected, rtol=1e-9, atol=1e-12)
        assert parts.report()["weights"] == pytest.approx(whole.report()["weights"], rel=1e-9, abs=1e-12)


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_resume_is_bit_exact(name: str, dtype: torch.dtype) -> None:
    straight = run(started(name, dtype=dtype), range(8))
    first, second = started(name, dtype=dtype), started(name, dtype=dtype)
    run(first, range(4))
    second.load_state_dict(first.state_dict())
    run(first, range(4, 6))  # what the first does afterwards reaches nobody
    assert all(torch.equal(a, b) for a, b in zip(run(second, range(4, 8)), straight[4:], strict=True))


@every
def test_a_step_with_a_number_that_is_not_finite_does_not_count(name: str) -> None:
    opt, undisturbed = started(name), started(name)
    run(opt, range(2)), run(undisturbed, range(2))
    for bad in (torch.nan, torch.inf, -torch.inf):
        gradients, losses = batch(2)
        gradients[0, 5] = bad  # of the first task: no other has moved yet
        assert not opt.combine(gradients, losses).any()
        opt.after_step(lambda: [1.0] * K)
    gradients, losses = batch(2)
    losses[0] = torch.nan
    assert not opt.combine(gradients, losses).any()
    assert opt.skipped_steps == 4
    if not opt.random:
        opt._next_step = 2
        for a, b in zip(run(opt, range(3, 6)), run(undisturbed, range(3, 6)), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


@every
def test_sum_is_the_mean_times_the_number_of_tasks(name: str) -> None:
    for a, b in zip(run(started(name), range(3)), run(started(name, scale="sum"), range(3)), strict=True):
        torch.testing.assert_close(a * K, b, rtol=1e-9, atol=1e-12)


@every
def test_one_task_gives_its_gradient(name: str) -> None:
    opt = started(name, num_tasks=1)
    gradients, losses = batch(0, 1)
    update = opt.combine(gradients, losses)
    if opt.rescales:
        update = update * (gradients[0].norm() / update.norm())
    torch.testing.assert_close(update, gradients[0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["naive", "tsage", "gradnorm", "uw", "dwa", "famo"])
def test_permuting_the_tasks_permutes_the_weights(name: str) -> None:
    order = [2, 0, 3, 1]
    plain, permuted = started(name), started(name)
    for seed in range(6):
        gradients, losses = batch(seed)
        expected = plain.combine(gradients, losses)
        torch.testing.assert_close(permuted.combine(gradients[order], losses[order]), expected, rtol=1e-9, atol=1e-12)
        plain.after_step((losses**1.1 * 0.8).tolist)
        permuted.after_step((losses[order] ** 1.1 * 0.8).tolist)
        weights = plain.report()["weights"]
        assert permuted.report()["weights"] == pytest.approx([weights[k] for k in order], rel=1e-9)


@pytest.mark.parametrize("name", ["naive", "tsage", "gradnorm", "uw", "dwa", "famo"])
@pytest.mark.parametrize("factor", [1e-10, 1e-5, 1e15])
def test_scale_of_the_gradients_changes_no_direction(name: str, factor: float) -> None:
    expected = run(started(name), range(4))
    got = run(started(name), range(4), lambda g: g * factor)
    for a, b in zip(expected, got, strict=True):
        torch.testing.assert_close(b / factor, a, rtol=1e-9, atol=1e-12)
    for update in run(started(name), range(4), torch.zeros_like):
        assert not update.any()


@pytest.mark.parametrize("name", ["naive", "tsage", "gradnorm", "uw", "dwa", "famo"])
def test_float32_is_near_float64(name: str) -> None:
    pairs = zip(run(started(name, dtype=torch.float32), range(6)), run(started(name), range(6)), strict=True)
    for single, double in pairs:
        torch.testing.assert_close(single.double(), double, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["naive", "gradnorm", "uw", "dwa", "famo"])
def test_no_row_is_kept(name: str) -> None:
    opt = started(name)
    gradients, losses = batch(0)
    opt.begin_step(0)
    for k in range(K):
        opt.task(k, gradients[k], losses[k])
        held = [t for t in vars(opt).values() if isinstance(t, Tensor) and t.numel() >= D and t is not opt.theta]
        assert len({t.data_ptr() for t in held}) <= 1 and not getattr(opt, "_rows", None)


def test_loss_methods_keep_rows_only_where_losses_come_late() -> None:
    gradients, losses = batch(0)
    for known in (True, False):
        opt = started("largest")
        assert isinstance(opt, Largest) and opt.needs_losses
        opt.begin_step(0, losses.tolist() if known else None)
        for k in range(K):
            opt.task(k, gradients[k], losses[k])
        assert len(opt._rows) == (0 if known else K)
        out = torch.empty(D, dtype=torch.float64)
        assert opt.finish(out)
        torch.testing.assert_close(out, gradients[int(losses.argmax())])


def test_misuse_is_told() -> None:
    opt = make("naive")
    with pytest.raises(UsageError, match="call start"):
        opt.combine(*batch(0))
    for theta, tasks, steps in [(torch.zeros(2, 2), 2, 1), (torch.zeros(3).int(), 2, 1), (torch.zeros(3), 0, 1)]:
        with pytest.raises(ConfigError):
            opt.start(theta, tasks, steps)
    with pytest.raises(ConfigError, match="task_sizes"):
        opt.start(torch.zeros(3), 2, 1, task_sizes=[1])
    for wrong in ({"seed": -1}, {"episode": -1}):
        with pytest.raises(ConfigError, match="must be >= 0"):
            opt.start(torch.zeros(3), 2, 1, **wrong)
    opt = started("naive")
    with pytest.raises(UsageError, match="begin_step"):
        opt.task(0, torch.zeros(D), 1.0)
    with pytest.raises(UsageError, match="gradients must be"):
        opt.combine(torch.zeros(K, D + 1), torch.zeros(K))
    for wrong_losses in (torch.zeros(K + 1), torch.zeros(K - 1)):
        with pytest.raises(UsageError, match="losses must be"):
            opt.combine(torch.zeros(K, D), wrong_losses)
    opt.begin_step(0)
    for size in (1, D + 1):
        with pytest.raises(UsageError, match="gradient of task 0 must be"):
            opt.task(0, torch.zeros(size), 1.0)
    opt.task(1, torch.zeros(D), 1.0)
    for k in (1, K, -1):
        with pytest.raises(UsageError, match="twice or out of range"):
            opt.task(k, torch.zeros(D), 1.0)


@pytest.mark.parametrize("name", NAMES)
def test_tensors_of_a_live_graph_are_taken_as_they_are(name: str) -> None:
    gradients, losses = batch(0)
    expected = started(name).combine(gradients, losses)
    opt = started(name)
    opt.start(torch.nn.Parameter(opt.theta.clone()), K, 20, seed=opt.seed, task_sizes=opt.task_sizes)
    update = opt.combine(gradients.clone().requires_grad_(), losses.clone().requires_grad_())
    assert not update.requires_grad
    torch.testing.assert_close(update, expected)


@pytest.mark.parametrize("name", NAMES)
def test_starting_again_with_other_sizes_leaves_nothing_behind(name: str) -> None:
    opt = started(name)
    run(opt, range(2))
    for tasks, size in ((K - 1, D), (K + 1, D), (K, D + 5)):
        gradients, losses = torch.randn(tasks, size, dtype=torch.float64), torch.ones(tasks)
        updates = []
        for method in (opt, make(name)):
            theta = torch.linspace(-1, 1, size, dtype=torch.float64)
            method.start(theta, tasks, 20, seed=3, task_sizes=[10] * tasks)
            method.begin_step(0)
            for k in range(tasks):
                method.task(k, gradients[k], losses[k])
            updates.append(torch.empty(size, dtype=torch.float64))
            assert method.finish(updates[-1])
        assert torch.equal(*updates)


def test_a_state_goes_where_the_parameters_are() -> None:
    """A checkpoint is read on the CPU; its tensors must follow ``theta``, here to a device without memory."""
    state = started("tsage").state_dict()
    for late in (True, False):
        opt = make("tsage", reset_on_episode=False)
        opt.reduce_sum = lambda value: torch.tensor(D)
        if not late:
            opt.load_state_dict(state)
        opt.start(torch.empty(D, device="meta"), K, 20)
        if late:
            opt.load_state_dict(state)
        assert {i.device.type for i in opt.sensitivities} == {"meta"}  # type: ignore[attr-defined]
        assert opt.updates == [0] * K  # type: ignore[attr-defined]


def test_a_step_without_tasks_does_not_count() -> None:
    opt, out = started("naive"), torch.ones(D)
    opt.begin_step(0)
    assert not opt.finish(out) and not out.any() and opt.skipped_steps == 1


def test_hyperparameters_are_checked_and_shown() -> None:
    assert Largest(bonus=1).params == {"bonus": 1.0, "reset_on_episode": True, "scale": "mean"}
    wrong: list[dict[str, Any]] = [{"bonus": 2.0}, {"bonus": "x"}, {"scale": "median"}, {"reset_on_episode": 1}]
    wrong += [{"bonus": 10**400}, {"bonus": -(10**5000)}, {"bonus": float("nan")}, {"bonus": True}]
    for params in wrong:
        with pytest.raises(ConfigError, match=rf"largest: {next(iter(params))} must be .*got"):
            Largest(**params)
    with pytest.raises(ConfigError, match="largest has no hyperparameter 'nonsense'"):
        Largest(nonsense=1)  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match="dwa: window must be int"):
        get_optimizer("dwa")(window=10**400)


def test_state_is_reset_or_carried_at_an_episode() -> None:
    for reset in (True, False):
        opt = started("largest", reset_on_episode=reset)
        run(opt, range(3))
        opt.start(opt.theta, K, 5, episode=1)
        assert opt.steps == (0 if reset else 3)  # type: ignore[attr-defined]
        fresh = make("largest", reset_on_episode=reset)
        fresh.load_state_dict({**opt.state_dict(), "state": {"steps": 7}})
        fresh.start(opt.theta, K, 5, episode=1)
        assert fresh.steps == (0 if reset else 7)  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="other fields"):
        opt.load_state_dict({**opt.state_dict(), "state": {"stops": 7}})


def test_ranks_skip_a_step_together() -> None:
    """A number that is not finite on another rank's shard skips the step here too."""
    for name in ("naive", "by_norm", "median", "tsage"):
        opt = make(name)
        opt.reduce_sum = lambda value: value + (1 if value.dim() == 0 and value.dtype == torch.int64 else 0)
        opt.start(torch.linspace(-1, 1, D), K, 20)
        assert not opt.combine(*batch(0, dtype=torch.float32)).any()
        assert opt.skipped_steps == 1


def test_literal_choices_are_typed() -> None:
    class Choosy(LossWeighting):
        name = "choosy"
        summary = "x"
        mode: Literal["a", "b"] = hyper("a")

    assert Choosy(mode="b").mode == "b"
    with pytest.raises(ConfigError, match="one of 'a', 'b'"):
        Choosy(mode="c")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", sorted(entries("optimizer")))
def test_an_unknown_hyperparameter_is_named_with_the_known_ones(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"{name} has no hyperparameter 'speed'; it has: .*scale"):
        get_optimizer(name)(speed=3)


@pytest.mark.parametrize("name", NAMES)
def test_steps_out_of_order_and_states_of_others_are_refused(name: str) -> None:
    opt, out, gradient = get_optimizer(name)(), torch.zeros(D), torch.randn(D)
    with pytest.raises(UsageError, match="call start"):
        opt.report()
    opt.start(torch.randn(D), K, 10, task_sizes=[10] * K)
    with pytest.raises(UsageError, match="call begin_step"):
        opt.finish(out)
    with pytest.raises(UsageError, match="losses must be"):
        opt.begin_step(0, [1.0] * (K + 1))
    opt.begin_step(0, [1.0] * K)
    with pytest.raises(UsageError, match="must be of floats"):
        opt.task(0, gradient.long(), 1.0)
    for k in range(K):
        opt.task(k, gradient, 1.0)
    with pytest.raises(UsageError, match="out must be"):
        opt.finish(torch.zeros(2, D))
    assert opt.finish(out)
    state = opt.state_dict()
    with pytest.raises(UsageError, match="once a step"):
        opt.finish(out)
    other = get_optimizer(name)()
    other.start(torch.randn(D), K + 1, 10, task_sizes=[10] * (K + 1))
    with pytest.raises(ConfigError, match=f"state of {K} tasks, not of {K + 1}"):
        other.load_state_dict(state)
    for wrong in ({}, None, [], "abc", {**state, "optimizer": "another"}):
        with pytest.raises(ConfigError, match=r"no state_dict of an optimizer|state of 'another'"):
            opt.load_state_dict(wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="task_sizes must be >= 1"):
        opt.start(torch.randn(D), K, 10, task_sizes=[1] * (K - 1) + [0])
