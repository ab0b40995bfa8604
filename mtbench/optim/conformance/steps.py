"""Single steps: how they are given, arguments left alone, steps that do not count, tasks that are missing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mtbench.optim.conformance.bench import (
    SIZE,
    TASKS,
    Step,
    Subject,
    ViolationError,
    after_step,
    conflicting_steps,
    draw_order,
    give,
    hooks,
    require_equal,
    require_finite,
    same,
    sums_rows,
    weights,
)
from mtbench.optim.contract import MultitaskOptimizer


def arguments(subject: Subject) -> str:
    """Gradients, losses and parameters are never changed."""
    opt = subject.start()
    theta = opt.theta.clone()
    for step, (gradients, losses) in enumerate(conflicting_steps()):
        kept = gradients.clone(), losses.clone()
        opt.combine(gradients, losses, **hooks(opt, gradients, losses))
        given = [gradients[k].clone() for k in range(TASKS)]
        out = torch.empty(SIZE, dtype=gradients.dtype)
        opt.begin_step(opt.step_index + 1, **hooks(opt, gradients, losses))
        for draw in draw_order(opt):
            for k in range(TASKS):
                opt.task(k, given[k], losses[k], draw)
        opt.finish(out)
        pairs = [
            ("gradients", gradients, kept[0]),
            ("gradients", torch.stack(given), kept[0]),
            ("losses", losses, kept[1]),
            ("theta", opt.theta, theta),
        ]
        for what, a, b in pairs:
            if not same(a, b):
                i = int((a - b).abs().nan_to_num(nan=math.inf).flatten().argmax())
                raise ViolationError(
                    f"step {step}: changes its argument: {what} differ after combine or task, from "
                    f"{float(b.flatten()[i]):.6g} to {float(a.flatten()[i]):.6g} (work on a copy)"
                )
    return "gradients, losses and parameters are left as they were"


def task_by_task(subject: Subject) -> str:
    """begin_step, task, finish gives what combine gives, in any order of the tasks, losses known before or not."""
    for told in (True, False):
        together, single = subject.start(), subject.start()
        for step, (gradients, losses) in enumerate(conflicting_steps(steps=10)):
            expected = together.combine(gradients, losses, **hooks(together, gradients, losses)).clone()
            out, _ = give(single, step, gradients, losses, told=told, tasks=(3, 1, 0, 2))
            require_equal(
                out,
                expected,
                1e-9,
                f"step {step}, task by task in the order 3, 1, 0, 2, against combine",
                "copy what is kept of a gradient, index it by the task, and wait with the weights until all are there",
            )
            for opt in (together, single):
                after_step(opt, losses)
    return "one task at a time, in another order, losses known before or not, gives what combine gives"


# -- steps that do not count ---------------------------------------------------------------------------------------

BAD_STEPS = (4, 9)


def not_finite(subject: Subject) -> str:
    """A step with a NaN or an infinity is skipped, counted, and leaves no trace in any later step."""
    stream = conflicting_steps(steps=14)
    for told in (False, True):
        clean = subject.start()
        usual = {t: _counted(clean, t, *stream[t], told) for t in range(14) if t not in BAD_STEPS}
        for value in (math.nan, math.inf):
            for place, what in enumerate(("gradient", "loss")):
                how = "known in begin_step" if told else "given with the gradient"
                _without_a_trace(subject, stream, usual, (value, place, told), f"a {what} of {value} ({how})")
    return "a step with a NaN or an infinity is skipped and counted; later steps are as if it had not been"


def _counted(opt: MultitaskOptimizer, step: int, gradients: Tensor, losses: Tensor, told: bool) -> Tensor:
    update, counts = give(opt, step, gradients, losses, told=told)
    if not counts:
        raise ViolationError(f"step {step}: a step of finite numbers is skipped")
    after_step(opt, losses)
    return update


def _without_a_trace(
    subject: Subject, stream: list[Step], usual: dict[int, Tensor], bad: tuple[float, int, bool], what: str
) -> None:
    value, place, told = bad
    opt = subject.start()
    for step, (gradients, losses) in enumerate(stream):
        if step not in BAD_STEPS:
            update = _counted(opt, step, gradients, losses, told)
            require_equal(
                update,
                usual[step],
                0,
                f"step {step}, after steps {BAD_STEPS} had {what} and did not count, against a run without them",
                "a skipped step must not change the state, a counter or the generator: change them where an update is "
                "written, not in open_step or add_task",
            )
            continue
        given = (gradients.clone(), losses.clone())
        given[place][1] = value
        before = opt.state_dict()["state"]
        update, counts = give(opt, step, *given, told=told)
        after_step(opt, losses)
        if counts or update.any():
            raise ViolationError(
                f"step {step}: with {what} finish() says {counts} and the update's largest entry is "
                f"{float(update.abs().max()):.3g}; such a step must be skipped: False, and an update of zeros"
            )
        if not same(opt.state_dict()["state"], before):
            raise ViolationError(f"step {step}: with {what} the step does not count, and changed the state")
    if opt.skipped_steps != len(BAD_STEPS):
        raise ViolationError(f"after {len(BAD_STEPS)} steps with {what}, skipped_steps is {opt.skipped_steps}")


# -- tasks that are missing ----------------------------------------------------------------------------------------

MANY = 5
"""Tasks: no other dimension of a state is as long."""
ABSENT: dict[int, set[int]] = {6: {0}, 7: {MANY - 1}, 8: {1, 2}}
"""Step to the tasks that do not come in it."""
NAMED = [3, 0, 4, 1, 2]


def missing_task(subject: Subject) -> str:
    """Steps without some of the tasks: the first, the last, two; by accident and on purpose."""
    for on_purpose in (False, True):
        opts = [(subject.start(MANY), list(range(MANY))), (subject.start(MANY, order=NAMED), NAMED)]
        moved: dict[int, str] = {}
        for step, (gradients, losses) in enumerate(conflicting_steps(MANY, steps=12)):
            results = [
                _step_without(opt, step, gradients[ids], losses[ids], ids, on_purpose, moved) for opt, ids in opts
            ]
            absent = ABSENT.get(step, set())
            if not subject.cls.random:
                require_equal(
                    results[1],
                    results[0],
                    1e-7,
                    f"step {step}, tasks renamed to the order {NAMED}" + (f", without {absent}" if absent else ""),
                    "a state is indexed by place instead of self.tasks, or a missing task's state moves",
                )
        if len(moved) > 1:
            raise ViolationError(next(iter(moved.values())))
    return "steps without the first, the last or two tasks combine the others; theirs is weight 0 and their state stays"


def _step_without(
    opt: MultitaskOptimizer,
    step: int,
    gradients: Tensor,
    losses: Tensor,
    ids: Sequence[int],
    on_purpose: bool,
    moved: dict[int, str],
) -> Tensor:
    absent = [place for place, k in enumerate(ids) if k in ABSENT.get(step, set())]
    coming = [place for place in range(len(ids)) if place not in absent]
    before = opt.state_dict()["state"]
    update, counts = give(
        opt, step, gradients, losses, tasks=coming, told=on_purpose, expected=coming if on_purpose else None
    )
    what = f"step {step} without the tasks {absent} of {len(ids)}" if absent else f"step {step} with all tasks"
    if not counts:
        raise ViolationError(f"{what} is skipped")
    require_finite(opt, update, what, "index by self.tasks, and sum over the present tasks only")
    if weights(opt)[absent].any():
        raise ViolationError(f"{what} reports the weights {weights(opt).tolist()}; absent tasks must have 0")
    told = torch.as_tensor(weights(opt)) @ gradients
    if sums_rows(opt):
        cause = (
            "the reported weights stand at other tasks than those of the gradients: give set_report() the present ones"
        )
        require_equal(update, told, 1e-6, f"{what}, against the sum with the reported weights", cause)
    after = opt.state_dict()["state"]
    for name in opt.state:
        for k in absent:
            was, now = _own_part(before[name], k, len(ids)), _own_part(after[name], k, len(ids))
            if not same(was, now):
                moved[step] = (
                    f"{what}: the state {name!r} of the absent task {k} moves from {was} to {now}; only the state of "
                    "self.tasks may change"
                )
    after_step(opt, losses)
    return update


def _own_part(value: Any, k: int, num_tasks: int) -> list[Any]:
    """The parts of a state that belong to task ``k``: along every dimension that has one place per task."""
    if isinstance(value, Tensor):
        return _own_part(value.numpy() if value.dtype != torch.bfloat16 else value.float().numpy(), k, num_tasks)
    if isinstance(value, np.ndarray):
        return [value.take(k, axis) for axis, n in enumerate(value.shape) if n == num_tasks]
    if isinstance(value, dict):
        return [part for v in value.values() for part in _own_part(v, k, num_tasks)]
    if isinstance(value, (list, tuple)) and len(value) == num_tasks:
        return [value[k]]
    return []
