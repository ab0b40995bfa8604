"""Hooks: independent draws, gradients at other points, chosen batches and numbers per task, on a quadratic problem."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from mtbench.errors import ConfigError
from mtbench.hyperparameters import hyperparameters
from mtbench.optim.conformance.bench import (
    SIZE,
    TASKS,
    Subject,
    ViolationError,
    conflicting_steps,
    distance,
    draw_order,
    finite,
    require_equal,
    require_finite,
    run,
    same,
)
from mtbench.optim.contract import MultitaskOptimizer

STEPS = 8
DESCENT, RATE = 150, 0.05


class Quadratic:
    """Losses 0.5 (theta - c)' A_k (theta - c) + k with one minimum c of all tasks; a batch moves each task's c."""

    def __init__(self, draws: int, noise: float = 0.3) -> None:
        rng = np.random.default_rng(12)
        self._curvature = torch.from_numpy(rng.uniform(0.2, 2.0, size=(TASKS, SIZE)))
        self._center = torch.from_numpy(rng.normal(size=SIZE))
        self._rng, self._draws, self._noise = rng, draws, noise
        self.theta = torch.from_numpy(rng.normal(size=SIZE)) + 2.0
        self.new_batches()

    def new_batches(self) -> None:
        """Others of every task in every draw."""
        shape = (self._draws, TASKS, SIZE)
        self._centers = self._center + self._noise * torch.from_numpy(self._rng.normal(size=shape))

    def gradient(self, k: int, draw: int, offset: Tensor | None = None) -> Tensor:
        """Of task ``k`` (d,) at theta, or beside it."""
        point = self.theta if offset is None else self.theta + offset
        return self._curvature[k] * (point - self._centers[draw, k])

    def loss(self, k: int, draw: int, offset: Tensor | None = None) -> float:
        """Of task ``k``."""
        point = self.theta if offset is None else self.theta + offset
        return float(0.5 * (self._curvature[k] * (point - self._centers[draw, k]) ** 2).sum()) + k + 1

    def gap(self) -> float:
        """The mean loss without noise, above its minimum."""
        return float(0.5 * (self._curvature * (self.theta - self._center) ** 2).sum(1).mean())


Change = Callable[[int, int, Tensor], Tensor]
"""Task, draw and gradient to the gradient that is given instead."""


class Caller:
    """Gives steps of the quadratic problem as the training loop does: one buffer, overwritten again and again."""

    def __init__(self, subject: Subject, copies: bool = False) -> None:
        """``copies``: what ``gradient_at`` answers has memory of its own."""
        self._copies = copies
        self.problem = Quadratic(subject.cls.draws)
        self.opt = subject.make()
        names, sizes = [f"task{k}" for k in range(TASKS)], [100 * (k + 1) for k in range(TASKS)]
        self.opt.start(self.problem.theta, TASKS, DESCENT, task_sizes=sizes, task_names=names)
        self.asked = 0
        self._buffer = torch.zeros(SIZE, dtype=torch.float64)

    def step(self, step: int, change: Change | None = None) -> tuple[Tensor, bool]:
        """The update, and whether the step counts."""
        opt, problem = self.opt, self.problem
        sizes = _sizes(opt)
        opt.begin_step(step, sizes=sizes, gradient_at=self.gradient_at if opt.perturbs else None)
        for draw in draw_order(opt):
            for k in opt.expected:
                gradient = problem.gradient(k, draw)
                self._buffer.copy_(gradient if change is None else change(k, draw, gradient))
                opt.task(k, self._buffer, problem.loss(k, draw), draw)
        out = torch.full((SIZE,), math.nan, dtype=torch.float64)
        counts = opt.finish(out)
        opt.after_step(lambda: [problem.loss(k, 0, -RATE * out) for k in range(TASKS)])
        return out, counts

    def gradient_at(self, k: int, offset: Tensor, draw: int = 0) -> tuple[Tensor, float]:
        self.asked += 1
        offset = offset.clone()
        self._buffer.copy_(self.problem.gradient(k, draw, offset))
        return self._buffer.clone() if self._copies else self._buffer, self.problem.loss(k, draw, offset)


def _sizes(opt: MultitaskOptimizer) -> list[int] | None:
    """64 queries, dealt by the method's shares; a share above 0 gets at least one."""
    shares = opt.shares()
    if shares is None:
        return None
    total = sum(shares)
    return [max(1, round(64 * s / total)) if s > 0 else 0 for s in shares]


def asked_for(subject: Subject) -> str:
    """Whatever a method asks of the training loop: draws, other points, batch sizes, numbers per task."""
    cls, found = subject.cls, []
    per_task = [name for name, declared in hyperparameters(cls).items() if declared.per_task]
    if cls.draws > 1:
        _draws(subject)
        found.append(f"each of {cls.draws} draws matters, and is copied")
    if cls.perturbs:
        _perturbs(subject)
        found.append("perturbed points leave theta alone")
    if subject.make().chooses_batches:
        _shares(subject)
        found.append("shares are a pure function of the state")
    if cls.draws > 1 or cls.perturbs or subject.make().chooses_batches:
        _descends(subject)
        found.append("a quadratic problem with one minimum descends")
    for name in per_task:
        _per_task(subject, name)
        found.append(f"{name} goes by the tasks' names")
    return "; ".join(found) or "asks for nothing beyond one gradient of each task"


def _draws(subject: Subject) -> None:
    usual, whole = Caller(subject), Caller(subject)
    for step in range(STEPS):
        problem = whole.problem
        rows = torch.stack(
            [torch.stack([problem.gradient(k, r) for k in range(TASKS)]) for r in range(subject.cls.draws)]
        )
        losses = torch.tensor([[problem.loss(k, r) for k in range(TASKS)] for r in range(subject.cls.draws)])
        expected = whole.opt.combine(rows, losses, gradient_at=whole.gradient_at if whole.opt.perturbs else None)
        update, _ = usual.step(step)
        what = f"step {step}, one draw after the other through one buffer, against combine with all draws"
        require_equal(update, expected, 1e-9, what, "copy what is kept of a draw in add_draw(), by its number")
        for caller in (usual, whole):
            caller.problem.new_batches()
    for draw in range(subject.cls.draws):
        _draw_matters(subject, draw)
        _bad_draw_is_skipped(subject, draw)


def _draw_matters(subject: Subject, draw: int) -> None:
    def moved(k: int, r: int, gradient: Tensor) -> Tensor:
        return gradient * (1.0 + 0.3 * k) + 0.5 if r == draw else gradient

    plain, other = Caller(subject), Caller(subject)
    gaps = [distance(plain.step(t)[0], other.step(t, moved)[0]) for t in range(STEPS)]
    if max(gaps) < 1e-9:
        raise ViolationError(
            f"steps 0 to {STEPS - 1}: other gradients in draw {draw} change the update by {max(gaps):.2g} of its size: "
            f"draws = {subject.cls.draws} is declared, and this one is not used (or another one twice)"
        )


def _bad_draw_is_skipped(subject: Subject, draw: int) -> None:
    caller = Caller(subject)
    caller.step(0)
    before = caller.opt.state_dict()["state"]
    update, counts = caller.step(1, lambda k, r, g: g * (math.nan if (k, r) == (1, draw) else 1.0))
    if counts or update.any() or not same(caller.opt.state_dict()["state"], before):
        raise ViolationError(
            f"step 1: with a NaN in draw {draw} of task 1, finish() says {counts} and the update's largest entry is "
            f"{float(update.abs().max()):.3g}, expected False and 0, and a state as before"
        )


def _perturbs(subject: Subject) -> None:
    caller = Caller(subject)
    for step in range(STEPS):
        theta, asked = caller.problem.theta.clone(), caller.asked
        update, _ = caller.step(step)
        if not same(caller.problem.theta, theta):
            i = int((caller.problem.theta - theta).abs().argmax())
            raise ViolationError(
                f"step {step}: theta's coordinate {i} went from {float(theta[i]):.9g} to "
                f"{float(caller.problem.theta[i]):.9g}: give gradient_at() an offset and leave theta alone"
            )
        require_finite(caller.opt, update, f"step {step} with gradients at perturbed points", "a norm of 0, perhaps")
        if caller.asked == asked:
            raise ViolationError(f"step {step}: declares perturbs = True and never asks for gradient_at()")
        caller.problem.new_batches()
    _answers_are_copied(subject)


def _answers_are_copied(subject: Subject) -> None:
    """An answer is valid until the next call, and may lie where the tasks' own gradients lay."""
    fresh, reused = Caller(subject, copies=True), Caller(subject)
    for step in range(STEPS):
        [a, _], [b, _] = fresh.step(step), reused.step(step)
        what = f"step {step}, answers of gradient_at() in one buffer, against answers in memory of their own"
        require_equal(b, a, 1e-12, what, "use or copy an answer before the next call")


def _shares(subject: Subject) -> None:
    caller, other = Caller(subject), Caller(subject)
    for step in range(STEPS):
        before = caller.opt.state_dict()
        shares = [caller.opt.shares() for _ in range(3)]
        first = np.asarray(shares[0], dtype=np.float64)
        if first.shape != (TASKS,) or not np.isfinite(first).all() or first.min() < 0 or first.sum() <= 0:
            raise ViolationError(f"step {step}: shares() gives {shares[0]}, expected {TASKS} numbers >= 0, not all 0")
        if any(not np.array_equal(first, np.asarray(s)) for s in shares) or not same(caller.opt.state_dict(), before):
            raise ViolationError(
                f"step {step}: shares() gives {shares[0]}, then {shares[-1]}, or changes the state: it must be a pure "
                "function of the state (draw where an update is written)"
            )
        other.opt.load_state_dict(before)
        if not np.allclose(np.asarray(other.opt.shares()), first, rtol=0, atol=0):
            raise ViolationError(
                f"step {step}: resumed, shares() gives {other.opt.shares()} instead of {shares[0]}: what they "
                "depend on must be in `state`"
            )
        update, counts = caller.step(step)
        if not counts:
            raise ViolationError(f"step {step} with batch sizes {caller.opt.sizes} is skipped")
        require_finite(caller.opt, update, f"step {step} with batch sizes {caller.opt.sizes}", "index by self.tasks")
        caller.problem.new_batches()


def _descends(subject: Subject) -> None:
    caller = Caller(subject)
    first = caller.problem.gap()
    for step in range(DESCENT):
        update, _ = caller.step(step)
        if not finite(update):
            raise ViolationError(f"step {step} of the quadratic problem: the update is not finite")
        caller.problem.theta -= RATE * update / max(1.0, float(update.norm()) / 5)
        caller.problem.new_batches()
    last = caller.problem.gap()
    if last > 0.5 * first:
        raise ViolationError(
            f"step {DESCENT - 1}: the mean loss of quadratic tasks with one minimum is {last:.3g} above it, "
            f"{first:.3g} at the start: the update does not descend"
        )


def _per_task(subject: Subject, name: str) -> None:
    """By name and in order it is the same; it matters; unknown tasks and wrong counts are refused in start()."""
    stream = conflicting_steps(steps=STEPS)
    texts = ("task0:3,task2:0.5", "3,1,0.5,1", "")
    by_name, in_order, plain = (run(subject.using(**{name: text}).start(), stream) for text in texts)
    for step, (a, b) in enumerate(zip(by_name, in_order, strict=True)):
        what = f"step {step} with {name} by the tasks' names ({texts[0]}), against their order ({texts[1]})"
        require_equal(a, b, 0, what, f"read the numbers by self.per_task({name!r})")
    if max(distance(a, b) for a, b in zip(by_name, plain, strict=True)) < 1e-9:
        raise ViolationError(
            f"{name}={texts[0]} gives the updates of the default in steps 0 to {STEPS - 1}: it is not used"
        )
    for bad in ("nobody:2", "1,2"):
        try:
            subject.using(**{name: bad}).start()
        except ConfigError as error:
            if name in str(error):
                continue
        raise ViolationError(f"{name}={bad!r} is accepted by start() with the tasks task0 to task{TASKS - 1}")
