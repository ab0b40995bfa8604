"""Form: shapes, the mean form over many steps, the sum form, and what the reported weights say."""

from __future__ import annotations

import numpy as np
import torch

from mtbench.optim.conformance.bench import (
    SIZE,
    TASKS,
    Step,
    Subject,
    ViolationError,
    conflicting_steps,
    direction_gap,
    distance,
    require_equal,
    run,
    sums_rows,
    weights,
)

LONG = 20
"""Steps in which a state may drift."""


def shapes(subject: Subject) -> str:
    """Shape, dtype and finiteness of updates and weights in both precisions."""
    for dtype in (torch.float32, torch.float64):
        opt = subject.start(dtype=dtype)
        for step, update in enumerate(run(opt, conflicting_steps(dtype=dtype))):
            if update.shape != (SIZE,) or update.dtype != dtype:
                raise ViolationError(
                    f"step {step}: the update has shape {tuple(update.shape)} and {update.dtype}, expected ({SIZE},) "
                    f"and {dtype}"
                )
            if not torch.isfinite(update).all():
                raise ViolationError(f"step {step}: the update is not finite in {dtype} on ordinary gradients")
            if weights(opt).shape != (TASKS,) or not np.isfinite(weights(opt)).all():
                raise ViolationError(
                    f"step {step}: report()['weights'] is {opt.report()['weights']}, expected {TASKS} finite numbers"
                )
    return "updates are finite and have the gradients' shape and dtype; the report has a weight for each task"


def one_task(subject: Subject) -> str:
    """K = 1."""
    return _gives_gradient(subject, 1, "a single task", "gives")


def identical_tasks(subject: Subject) -> str:
    """K equal gradients and losses."""
    return _gives_gradient(subject, TASKS, f"{TASKS} identical tasks", "give")


def _gives_gradient(subject: Subject, num_tasks: int, what: str, give: str) -> str:
    """Over many steps: a state may drift. A method that rescales may remember old gradients, so its own keep their
    direction."""
    base = conflicting_steps(1, steps=LONG)
    stream: list[Step] = []
    for step, (row, loss) in enumerate(base):
        gradient = base[0][0] * (1 + 0.5 * np.sin(step)) if subject.cls.rescales else row
        stream.append((gradient.repeat(num_tasks, 1), loss.repeat(num_tasks)))
    for step, (update, (gradients, _)) in enumerate(zip(run(subject.start(num_tasks), stream), stream, strict=True)):
        if subject.cls.rescales:
            gap = direction_gap(update, gradients[0])
            if gap > 1e-6:
                raise ViolationError(
                    f"step {step}: {what} must give the gradient's direction, the update points elsewhere "
                    f"(unit vectors {gap:.2g} apart, allowed 1e-6)"
                )
        elif distance(update, gradients[0]) > 1e-6:
            times = float(update @ gradients[0] / (gradients[0] @ gradients[0]))
            raise ViolationError(
                f"step {step}: {what} must give the gradient itself; the update is {times:.4g} times it along its "
                "direction, expected 1 (mean form: weights sum to 1. A method that changes the length on purpose "
                "declares rescales = True)"
            )
    kind = "the gradient's direction (rescales is declared)" if subject.cls.rescales else "the gradient itself"
    return f"{what} {give} {kind} in each of {LONG} steps"


def sum_form(subject: Subject) -> str:
    """scale=sum is exactly K times the mean form, and changes nothing else."""
    for num_tasks in (3, 4):
        stream = conflicting_steps(num_tasks, steps=LONG)
        means = run(subject.using(scale="mean").start(num_tasks), stream)
        sums = run(subject.using(scale="sum").start(num_tasks), stream)
        for step, (one, other) in enumerate(zip(means, sums, strict=True)):
            require_equal(
                other,
                one * num_tasks,
                0,
                f"step {step}, scale=sum with {num_tasks} tasks, against {num_tasks} times scale=mean",
                "leave the scale to the base class and its update out of the state",
            )
    if subject.cls.weighted_sum:
        _unit_form(subject)
    return f"scale=sum is exactly K times scale=mean in each of {LONG} steps"


def _unit_form(subject: Subject) -> None:
    """scale=unit keeps the direction, with weights that sum to 1."""
    stream = conflicting_steps(steps=LONG)
    opt, means = subject.using(scale="unit").start(), run(subject.using(scale="mean").start(), stream)
    for step, one in enumerate(stream):
        [update] = run(opt, [one])
        gap, total = direction_gap(update, means[step]), float(weights(opt).sum())
        if gap > 1e-9 or abs(total - 1) > 1e-9:
            raise ViolationError(
                f"step {step}: with scale=unit the weights sum to {total:.9g}, expected 1, and the update lies "
                f"{gap:.2g} off that of scale=mean, expected 0; say weighted_sum = False if the update is no such sum"
            )


def reported_weights(subject: Subject) -> str:
    """Where an update is a weighted sum of gradients, the weights are the reported ones."""
    opt = subject.start()
    if not sums_rows(opt):
        return "its update is no weighted sum of the gradients"
    for step, (gradients, losses) in enumerate(conflicting_steps(steps=LONG)):
        update = run(opt, [(gradients, losses)])[0]
        told = torch.as_tensor(weights(opt)) @ gradients
        require_equal(
            update,
            told,
            1e-6,
            f"step {step}, against the sum of the gradients with the reported weights {np.round(weights(opt), 6)}",
            "give set_report() the weights that made the update, after all scaling",
        )
    return "the reported weights are those that make the update"


def permutation(subject: Subject) -> str:
    """The tasks' order does not matter."""
    if subject.cls.random:
        return "random: see the check 'draws', which compares distributions"
    order, stream = [2, 0, 3, 1], conflicting_steps(steps=12)
    one, other = subject.start(), subject.start(order=order)
    for step, (gradients, losses) in enumerate(stream):
        [a], [b] = run(one, [(gradients, losses)]), run(other, [(gradients[order], losses[order])])
        if distance(a, b) > 1e-6:
            i = int((a - b).abs().argmax())
            raise ViolationError(
                f"step {step}: permuting the tasks changes the update, coordinate {i} from {float(a[i]):.9g} to "
                f"{float(b[i]):.9g}: a task's place matters somewhere"
            )
        if np.abs(weights(one)[order] - weights(other)).max() > 1e-6 * np.abs(weights(one)).max():
            raise ViolationError(
                f"step {step}: permuting the tasks does not permute the weights: {weights(one)[order].tolist()} "
                f"expected, {weights(other).tolist()} reported"
            )
    return "permuting the tasks permutes the weights and leaves the update"
