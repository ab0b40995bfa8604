"""The conformance checks of a multitask optimizer's behaviour, one function each.

A check returns the sentence that says what holds, or raises :class:`ViolationError` with the sentence that says what
does not. Gradients are small and on the CPU.
"""

from __future__ import annotations

import io
import random
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mtbench.optim.conformance_bench import (
    SIZE,
    TASKS,
    Step,
    Subject,
    ViolationError,
    conflicting_steps,
    direction_gap,
    distance,
    finite,
    run,
    same,
    weights,
)
from mtbench.optim.contract import MultitaskOptimizer


def shapes(subject: Subject) -> str:
    """Shape, dtype and finiteness of updates and weights in both precisions."""
    for dtype in (torch.float32, torch.float64):
        opt = subject.start(dtype=dtype)
        for update in run(opt, conflicting_steps(dtype=dtype)):
            if update.shape != (SIZE,) or update.dtype != dtype:
                raise ViolationError(
                    f"update has shape {tuple(update.shape)} and {update.dtype}, expected ({SIZE},) and {dtype}"
                )
            if not torch.isfinite(update).all():
                raise ViolationError(f"update is not finite in {dtype} on ordinary gradients")
            if weights(opt).shape != (TASKS,) or not np.isfinite(weights(opt)).all():
                raise ViolationError(
                    f"report()['weights'] is {opt.report()['weights']}, expected {TASKS} finite numbers"
                )
    return "updates are finite and have the gradients' shape and dtype; the report has a weight for each task"


def _gives_gradient(subject: Subject, gradients: Tensor, what: str, give: str) -> str:
    update = run(subject.start(len(gradients)), [(gradients, torch.ones(len(gradients), dtype=gradients.dtype))])[0]
    if subject.cls.rescales:
        if direction_gap(update, gradients[0]) > 1e-6:
            raise ViolationError(f"{what} must give the gradient's direction, the update points elsewhere")
        return f"{what} {give} the gradient's direction (rescales is declared)"
    if distance(update, gradients[0]) > 1e-6:
        times = float(update @ gradients[0] / (gradients[0] @ gradients[0]))
        raise ViolationError(
            f"{what} must give the gradient itself; the update is {times:.4g} times it along its direction "
            "(mean form: weights sum to 1. A method that changes the length on purpose declares rescales = True)"
        )
    return f"{what} {give} the gradient itself"


def one_task(subject: Subject) -> str:
    """K = 1."""
    return _gives_gradient(subject, conflicting_steps(1)[0][0], "a single task", "gives")


def identical_tasks(subject: Subject) -> str:
    """K equal gradients and losses."""
    return _gives_gradient(subject, conflicting_steps()[0][0][:1].repeat(TASKS, 1), f"{TASKS} identical tasks", "give")


def permutation(subject: Subject) -> str:
    """The tasks' order does not matter."""
    order = [2, 0, 3, 1]
    sizes = [100 * (k + 1) for k in range(TASKS)]
    stream = conflicting_steps()
    turned = [(g[order], losses[order]) for g, losses in stream]
    if subject.cls.random:
        return _permutation_in_distribution(subject, stream[:1], turned[:1], order, sizes)
    one, other = subject.start(sizes=sizes), subject.start(sizes=[sizes[k] for k in order], order=order)
    for step, (a, b) in enumerate(zip(run(one, stream), run(other, turned), strict=True)):
        if distance(a, b) > 1e-6:
            raise ViolationError(f"permuting the tasks changes the update of step {step} by {distance(a, b):.2g}")
    if np.abs(weights(one)[order] - weights(other)).max() > 1e-6 * np.abs(weights(one)).max():
        raise ViolationError("permuting the tasks does not permute the weights")
    return "permuting the tasks permutes the weights and leaves the update"


def _permutation_in_distribution(
    subject: Subject, stream: list[Step], turned: list[Step], order: list[int], sizes: list[int], draws: int = 200
) -> str:
    drawn: list[list[np.ndarray]] = [[], []]
    for seed in range(draws):
        for side, (steps, own) in enumerate([(stream, sizes), (turned, [sizes[k] for k in order])]):
            opt = subject.start(seed=seed + 1000 * side, sizes=own, order=order if side else None)
            run(opt, steps)
            drawn[side].append(weights(opt)[order] if side == 0 else weights(opt))
    means = [np.mean(d, axis=0) for d in drawn]
    error = np.sqrt(sum(np.var(d, axis=0) for d in drawn) / draws)
    if (np.abs(means[0] - means[1]) > 5 * error + 1e-6).any():
        raise ViolationError(f"permuting the tasks changes the weights' mean over {draws} seeds beyond chance")
    return f"permuting the tasks permutes the weights' distribution ({draws} seeds)"


def resume(subject: Subject) -> str:
    """Saved and loaded in the middle, the rest is bit-identical."""
    stream = conflicting_steps(steps=8)
    whole = subject.start()
    expected = run(whole, stream)
    first = subject.start()
    run(first, stream[:4])
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = subject.start(seed=99)
    second.load_state_dict(torch.load(file, weights_only=False))
    for step, (a, b) in enumerate(zip(expected[4:], run(second, stream[4:]), strict=True), start=4):
        if not same(a, b):
            raise ViolationError(
                f"resumed from state_dict() after step 3, the update of step {step} differs from the uninterrupted "
                "run's: name everything that carries over in `state`, set it in init_state()"
            )
    if not same(whole.state_dict(), second.state_dict()):
        raise ViolationError("after a resume the state ends differently from the uninterrupted run's")
    return "saved and loaded in the middle, the rest is bit-identical"


def seeds(subject: Subject) -> str:
    """Same seed, same result; the global generators are neither used nor moved."""
    stream, results = conflicting_steps(), []
    for number in (1, 2):
        torch.manual_seed(number)
        np.random.seed(number)
        random.seed(number)
        before = (torch.get_rng_state(), np.random.get_state(), random.getstate())
        results.append(run(subject.start(seed=7), stream))
        after = (torch.get_rng_state(), np.random.get_state(), random.getstate())
        for source, a, b in zip(("torch", "numpy", "random"), before, after, strict=True):
            if not same(a, b):
                raise ViolationError(f"draws from the global generator of {source}: use self.generator")
    if not same(results[0], results[1]):
        raise ViolationError("two runs with the same seed differ: take all randomness from self.generator")
    return "the same seed gives the same result, whatever the global generators are at; they are not moved"


def arguments(subject: Subject) -> str:
    """Gradients, losses and parameters are never changed."""
    opt = subject.start()
    theta = opt.theta.clone()
    for gradients, losses in conflicting_steps():
        kept = gradients.clone(), losses.clone()
        opt.combine(gradients, losses)
        out = torch.empty(SIZE, dtype=gradients.dtype)
        opt.begin_step(opt.step_index + 1)
        for k in range(TASKS):
            opt.task(k, gradients[k], losses[k])
        opt.finish(out)
        for what, a, b in [("gradients", gradients, kept[0]), ("losses", losses, kept[1]), ("theta", opt.theta, theta)]:
            if not same(a, b):
                raise ViolationError(f"changes its argument: {what} differ after combine or task (work on a copy)")
    return "gradients, losses and parameters are left as they were"


def task_by_task(subject: Subject) -> str:
    """begin_step, task, finish gives what combine gives, in any order of the tasks."""
    together, single = subject.start(), subject.start()
    for step, (gradients, losses) in enumerate(conflicting_steps()):
        expected, out = together.combine(gradients, losses).clone(), torch.empty(SIZE, dtype=gradients.dtype)
        single.begin_step(step, losses.tolist())
        for k in (3, 1, 0, 2):
            reused = gradients[k].clone()
            single.task(k, reused, losses[k])
            reused.fill_(1e6)  # the training loop overwrites its buffer
        single.finish(out)
        if distance(out, expected) > 1e-9:
            raise ViolationError(f"task by task the update of step {step} differs from combine's")
        for opt in (together, single):
            opt.after_step(losses.tolist)
    return "one task at a time, in another order, gives what combine gives"


def zeros(subject: Subject) -> str:
    """Zero gradients are nothing special."""
    for what, rows in [("all gradients", list(range(TASKS))), ("one gradient", [1])]:
        stream = conflicting_steps()
        for gradients, _ in stream[1:3]:
            gradients[rows] = 0
        opt = subject.start()
        for step, update in enumerate(run(opt, stream)):
            if not torch.isfinite(update).all() or not np.isfinite(weights(opt)).all():
                raise ViolationError(f"with {what} zero in steps 1 and 2, the update of step {step} is not finite")
            if step in (1, 2) and len(rows) == TASKS and update.any() and not opt.state:  # a momentum goes on
                raise ViolationError("all gradients are zero and the update is not")
        if opt.skipped_steps:
            raise ViolationError(f"with {what} zero, {opt.skipped_steps} steps are skipped; they are finite")
    first = subject.start().combine(torch.zeros_like(stream[0][0]), stream[0][1])
    if first.any():
        raise ViolationError("all gradients of the first step are zero and the update is not")
    return "zero gradients, of one task or all, give finite updates and leave no trace"


def scales(subject: Subject) -> str:
    """1e-10, 1e15, and one task 10,000 times larger."""
    plain = run(subject.start(), conflicting_steps())
    for factor in (1e-10, 1e15):
        for dtype in (torch.float32, torch.float64):
            updates = run(subject.start(dtype=dtype), [(g * factor, v) for g, v in conflicting_steps(dtype=dtype)])
            for step, (a, b) in enumerate(zip(plain, updates, strict=True)):
                if not torch.isfinite(b).all():
                    raise ViolationError(f"gradients of size {factor:g} in {dtype}: update {step} is not finite")
                if dtype == torch.float64 and direction_gap(a, b) > 1e-5:
                    raise ViolationError(
                        f"gradients times {factor:g} turn the update of step {step} by {direction_gap(a, b):.2g}: "
                        "an absolute threshold stands somewhere"
                    )
    large = conflicting_steps()
    for gradients, _ in large:
        gradients[2] *= 1e4
    if not all(bool(torch.isfinite(u).all()) for u in run(subject.start(), large)):
        raise ViolationError("with one task 10,000 times larger the update is not finite")
    return "gradients times 1e-10 and 1e15 give the same directions, one task 10,000 times larger finite updates"


def precisions(subject: Subject) -> str:
    """float32 near float64."""
    singles = run(subject.start(dtype=torch.float32), conflicting_steps(dtype=torch.float32))
    doubles = run(subject.start(), conflicting_steps())
    worst = max(distance(a.double(), b) for a, b in zip(singles, doubles, strict=True))
    if worst > 1e-3:
        raise ViolationError(
            f"float32 and float64 differ by {worst:.2g} of the largest entry after {len(doubles)} steps"
        )
    return f"float32 and float64 agree to {worst:.1g}"


def not_finite(subject: Subject) -> str:
    """A step with a NaN or an infinity is skipped, counted, and leaves no trace."""
    stream = conflicting_steps()
    for what, value, place in [("NaN", float("nan"), 0), ("infinity", float("inf"), 0), ("NaN loss", float("nan"), 1)]:
        opt = subject.start()
        run(opt, stream[:2])
        before = opt.state_dict()["state"]
        bad = (stream[2][0].clone(), stream[2][1].clone())
        bad[place][1] = value
        update = opt.combine(*bad)
        if opt.skipped_steps != 1 or update.any():
            raise ViolationError(f"a step with a {what} must be skipped and counted, with an update of zeros")
        if not same(opt.state_dict()["state"], before):
            raise ViolationError(f"a step with a {what} changed the state")
        after = run(opt, stream[3:])
        usual = finite(_state_after(subject, [*stream[:2], *stream[3:]]))
        if not all(bool(torch.isfinite(u).all()) for u in after) or finite(opt.state_dict()["state"]) != usual:
            raise ViolationError(f"after a step with a {what} the updates or the state are not finite")
    return "a step with a NaN or an infinity is skipped and counted; the state stays as it was"


def _state_after(subject: Subject, stream: list[Step]) -> dict[str, Any]:
    opt = subject.start()
    run(opt, stream)
    return dict(opt.state_dict()["state"])


def missing_task(subject: Subject) -> str:
    """A step without one of the tasks."""
    opt = subject.start()
    stream = conflicting_steps()
    run(opt, stream[:2])
    gradients, losses = stream[2]
    out = torch.empty(SIZE, dtype=gradients.dtype)
    opt.begin_step(2)
    for k in (0, 1, 3):
        opt.task(k, gradients[k], losses[k])
    if not opt.finish(out) or not torch.isfinite(out).all():
        raise ViolationError("a step without task 2 does not give a finite update")
    if weights(opt)[2] != 0:
        raise ViolationError(f"a step without task 2 reports the weight {weights(opt)[2]:g} for it, expected 0")
    if not all(bool(torch.isfinite(u).all()) for u in run(opt, stream[3:])):
        raise ViolationError("after a step without task 2 the updates are not finite")
    return "a step without one task combines the others; its weight is 0"


def state_changes(subject: Subject) -> str:
    """What is declared as state exists and changes."""
    if not subject.cls.state:
        return "declares no state"
    hidden = [field for field in subject.cls.state if hasattr(MultitaskOptimizer, field)]
    if hidden:
        raise ViolationError(f"state named {', '.join(hidden)} hides a method of MultitaskOptimizer: rename it")
    opt: MultitaskOptimizer = subject.start()
    before: dict[str, Any] = opt.state_dict()["state"]
    if not hasattr(opt, "reset_on_episode"):
        raise ViolationError("has state but no reset_on_episode: add `reset_on_episode: bool = reset_field()`")
    run(opt, conflicting_steps(steps=8))
    changed = [f for f in subject.cls.state if not same(before[f], opt.state_dict()["state"][f])]
    if not changed:
        raise ViolationError(f"declares the state {', '.join(subject.cls.state)}, which 8 steps leave as it was")
    return f"state that changes: {', '.join(changed)}; {opt.state_bytes()} bytes at K = {TASKS}, d = {SIZE}"
