"""Degenerate geometry: frozen tasks, opposed, equal, parallel gradients, more tasks than coordinates."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mtbench.optim.conformance.bench import (
    TASKS,
    Step,
    Subject,
    ViolationError,
    conflicting_steps,
    require_equal,
    require_finite,
    run,
    sums_rows,
    to_tensor,
    weights,
)

ORDER = [4, 2, 0, 5, 3, 1]
COUNT = len(ORDER)


def frozen_tasks(subject: Subject) -> str:
    """Tasks whose gradient is zero in every step: two of them, and all but one."""
    for frozen in ([1, 3], [0, 1, 2]):
        opt, stream = subject.start(), conflicting_steps(steps=20)
        for step, (gradients, losses) in enumerate(stream):
            gradients[frozen] = 0
            [update] = run(opt, [(gradients, losses)])
            what = f"step {step}, the gradients of the tasks {frozen} zero in every step"
            require_finite(opt, update, what, "a division by a norm, or weights that run away to the frozen tasks")
            if sums_rows(opt):
                told = torch.as_tensor(weights(opt)) @ gradients
                cause = "a frozen task may take weight, but must not change what the others' weights say"
                require_equal(update, told, 1e-6, f"{what}, against the sum with the reported weights", cause)
        if opt.skipped_steps:
            raise ViolationError(f"with the tasks {frozen} frozen, {opt.skipped_steps} steps are skipped")
    return f"two frozen tasks, or {TASKS - 1} of {TASKS}, leave everything finite for 20 steps"


def degenerate(subject: Subject) -> str:
    """Finite, no longer than K times the longest gradient unless it rescales, and independent of the tasks' order."""
    for what, stream in degenerate_steps().items():
        size = stream[0][0].shape[1]
        opt, other = subject.start(COUNT, size), subject.start(COUNT, size, order=ORDER)
        for step, (gradients, losses) in enumerate(stream):
            [update] = run(opt, [(gradients, losses)])
            label = f"step {step}, {what}"
            require_finite(opt, update, label, "a matrix that has no inverse, or a division by a difference of 0")
            longest, length = float(gradients.norm(dim=1).max()), float(update.norm())
            if not subject.cls.rescales and length > longest * COUNT * (1 + 1e-9):
                raise ViolationError(
                    f"{label}: the update is {length:.4g} long, the longest of {COUNT} gradients {longest:.4g}: "
                    "weights explode (or declare rescales = True)"
                )
            if not subject.cls.random:
                [turned] = run(other, [(gradients[ORDER], losses[ORDER])])
                _same_in_any_order(update, turned, gradients, weights(opt), label)
    return "opposed, equal, nearly parallel gradients, rank 1 and K > d: finite, bounded, whatever the tasks' order"


def _same_in_any_order(update: Tensor, turned: Tensor, gradients: Tensor, shares: np.ndarray, label: str) -> None:
    """Up to rounding of the largest of the sum's terms, which may cancel."""
    largest = float((torch.as_tensor(shares)[:, None] * gradients).abs().max())
    allowed = 1e-5 * max(largest, float(update.abs().max())) + 1e-9 * float(gradients.abs().max())
    gap = (update - turned).abs()
    if float(gap.max()) > allowed:
        i = int(gap.argmax())
        raise ViolationError(
            f"{label}: permuting the tasks changes coordinate {i} of the update from {float(update[i]):.9g} to "
            f"{float(turned[i]):.9g}: a tie is broken by the task's place"
        )


def degenerate_steps(steps: int = 3) -> dict[str, list[Step]]:
    """Gradients (6, d) that lie badly, by name."""
    rng = np.random.default_rng(11)
    found: dict[str, list[Step]] = {}
    for what, size in [
        ("pairs of exactly opposed gradients", 24),
        ("three equal gradients among others", 24),
        ("gradients parallel to 1e-9", 24),
        ("gradients that are multiples of one vector", 24),
        ("more tasks than coordinates", 3),
    ]:
        found[what] = []
        for _ in range(steps):
            rows = np.round(64 * rng.normal(size=(COUNT, size))) / 64  # their sums are exact, in whatever order
            if what.startswith("pairs"):
                rows[3:] = -rows[:3]
            elif what.startswith("three"):
                rows[2] = rows[4] = rows[0]
            elif what.startswith("gradients parallel"):
                rows = rows[:1] + 1e-9 * rows
            elif what.startswith("gradients that are"):
                rows = rows[:1] * np.array([1.0, 2.0, 0.5, -1.0, 3.0, 0.25])[:, None]
            losses = 1.0 + rng.random(COUNT)
            found[what].append((torch.from_numpy(rows), to_tensor(losses, torch.float64)))
    return found
