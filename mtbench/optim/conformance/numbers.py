"""Hard numbers: zeros, sizes of gradients, precisions, losses of any size."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mtbench.optim.conformance.bench import (
    CURVATURE,
    TASKS,
    Step,
    Subject,
    ViolationError,
    conflicting_steps,
    direction_gap,
    distance,
    finite,
    require_finite,
    run,
    same,
    weights,
)
from mtbench.optim.contract import MultitaskOptimizer


def zeros(subject: Subject) -> str:
    """Zero gradients are nothing special."""
    for what, rows in [("all gradients", list(range(TASKS))), ("one gradient", [1])]:
        stream = conflicting_steps()
        for gradients, _ in stream[1:3]:
            gradients[rows] = 0
        opt = subject.start()
        for step, (gradients, losses) in enumerate(stream):
            [update] = run(opt, [(gradients, losses)])
            require_finite(opt, update, f"step {step}, {what} zero in steps 1 and 2", "a division by a norm of 0")
            if step in (1, 2) and len(rows) == TASKS and update.any() and not opt.state:  # a momentum goes on
                raise ViolationError(
                    f"step {step}: all gradients are zero and the update's largest entry is "
                    f"{float(update.abs().max()):.3g}, expected 0"
                )
        if opt.skipped_steps:
            raise ViolationError(f"with {what} zero, {opt.skipped_steps} steps are skipped; they are finite")
    [first] = run(subject.start(), [(torch.zeros_like(stream[0][0]), stream[0][1])])
    if first.any():
        raise ViolationError("step 0: all gradients are zero and the update is not")
    return "zero gradients, of one task or all, give finite updates and leave no trace"


def scales(subject: Subject) -> str:
    """1e-10, 1e15, and one task 10,000 times larger."""
    plain = run(subject.start(), conflicting_steps())
    for factor in (1e-10, 1e15):
        for dtype in (torch.float32, torch.float64):
            stream = [(g * factor, v) for g, v in conflicting_steps(dtype=dtype)]
            updates = run(subject.start(dtype=dtype), stream, CURVATURE * factor)
            for step, (a, b) in enumerate(zip(plain, updates, strict=True)):
                if not torch.isfinite(b).all():
                    raise ViolationError(f"step {step}: gradients of size {factor:g} in {dtype} give no finite update")
                if dtype == torch.float64 and direction_gap(a, b) > 1e-5:
                    raise ViolationError(
                        f"step {step}: gradients times {factor:g} turn the update by {direction_gap(a, b):.2g}, "
                        "allowed 1e-5: an absolute threshold stands somewhere"
                    )
    large = conflicting_steps()
    for gradients, _ in large:
        gradients[2] *= 1e4
    for step, update in enumerate(run(subject.start(), large)):
        if not finite(update):
            raise ViolationError(f"step {step}: with one task 10,000 times larger the update is not finite")
    return "gradients times 1e-10 and 1e15 give the same directions, one task 10,000 times larger finite updates"


# -- precision -----------------------------------------------------------------------------------------------------

TINY, SMALL = 1e-11, 1e-6
"""Two relative changes: below what float32 sees, and above it. The answer to them must be in proportion."""
LENGTH = 50


def precisions(subject: Subject) -> str:
    """float64 gives float64's answers, float32 stays near them."""
    singles = run(subject.start(dtype=torch.float32), conflicting_steps(steps=LENGTH, dtype=torch.float32))
    doubles = run(subject.start(), conflicting_steps(steps=LENGTH))
    gaps = [distance(a.double(), b) for a, b in zip(singles, doubles, strict=True)]
    step = int(np.argmax(gaps))
    if gaps[step] > 1e-3:
        raise ViolationError(
            f"step {step}: float32 and float64 differ by {gaps[step]:.2g} of the largest entry, allowed 1e-3"
        )
    _answers_in_proportion(subject, "gradients")
    _answers_in_proportion(subject, "losses")
    return f"float32 and float64 agree to {gaps[step]:.1g} over {LENGTH} steps; float64 sees changes of {TINY:g}"


def _answers_in_proportion(subject: Subject, what: str, steps: int = 8) -> None:
    """A change of 1e-11 must do a hundred-thousandth of what a change of 1e-6 does: rounding to float32 anywhere gives
    nothing or far too much. A few steps may lie on a kink."""
    answers = [_trajectory(subject, what, size, steps) for size in (0.0, TINY, SMALL)]
    wrong: list[str] = []
    counted = 0
    for step, (plain, tiny, small) in enumerate(zip(*answers, strict=True)):
        for kind, a, b, c in zip(("update", "reported weights"), plain, tiny, small, strict=True):
            scale = float(a.abs().max())
            expected, got = (c - a) * (TINY / SMALL), b - a
            if float(expected.abs().max()) < 1e-13 * scale or scale == 0:
                continue  # it does not depend on them
            counted += 1
            i = int(expected.abs().argmax())
            if float((got - expected).abs().max()) > 0.3 * float(expected.abs().max()) + 3e-14 * scale:
                wrong.append(
                    f"step {step}: {what} changed by {TINY:g} of their size move the {kind} by {float(got[i]):.2g} at "
                    f"{i}, expected {float(expected[i]):.2g}: something is rounded to float32 on the way"
                )
    if len(wrong) > 0.4 * counted:
        raise ViolationError(wrong[0])


def _trajectory(subject: Subject, what: str, size: float, steps: int) -> list[tuple[Tensor, Tensor]]:
    """Update and weights of every step, where ``what`` is changed by ``size`` of its own size."""
    rng, opt = np.random.default_rng(5), subject.start()
    found = []
    for gradients, losses in conflicting_steps(steps=steps):
        noise = torch.from_numpy(rng.normal(size=tuple(gradients.shape)))
        moved = (
            (gradients * (1 + size * noise), losses)
            if what == "gradients"
            else (
                gradients,
                losses * (1 + size * noise[:, 0]),
            )
        )
        found.append((run(opt, [moved])[0], torch.as_tensor(weights(opt))))
    return found


# -- losses --------------------------------------------------------------------------------------------------------

SIZES = (0.0, -1.0, 1e-30, 1e30)
HARD_STEPS = (1, 2)


def losses(subject: Subject) -> str:
    """Losses of 0, below 0, tiny and huge, of one task and of all, and 20 steps after."""
    if not _reads_losses(subject):
        return "its updates do not depend on the losses"
    for dtype in (torch.float64, torch.float32):
        ordinary = conflicting_steps(steps=HARD_STEPS[-1] + 21, dtype=dtype)
        plain = subject.start(dtype=dtype)
        run(plain, ordinary)
        sound = finite(plain.state_dict()["state"])
        for value in SIZES:
            for who in ([1], list(range(TASKS)))[dtype == torch.float32 :]:
                stream = [
                    (g, _with_losses(v, who, value) if t in HARD_STEPS else v) for t, (g, v) in enumerate(ordinary)
                ]
                what = (
                    f"the loss of {'all tasks' if len(who) > 1 else 'task 1'} {value:g} in steps {HARD_STEPS}, {dtype}"
                )
                _stays_finite(subject.start(dtype=dtype), stream, what, sound)
    return "losses of 0, -1, 1e-30 and 1e30, of one task or all, leave updates and state finite for 20 steps"


def _reads_losses(subject: Subject) -> bool:
    """Whether updates differ when all losses are others, some of them 0, below 0, tiny and huge."""
    plain = conflicting_steps(steps=6)
    hard = torch.tensor([0.0, -1.0, 1e30, 1e-30], dtype=torch.float64)
    return not same(
        run(subject.start(), plain),
        run(subject.start(), [(g, hard if t in HARD_STEPS else v * 3) for t, (g, v) in enumerate(plain)]),
    )


def _with_losses(values: Tensor, who: list[int], value: float) -> Tensor:
    values = values.clone()
    values[who] = value
    return values


def _stays_finite(opt: MultitaskOptimizer, stream: list[Step], what: str, sound: bool) -> None:
    cause = "a logarithm of or a division by a loss: raise losses to a small share of the step's largest before"
    for step, one in enumerate(stream):
        [update] = run(opt, [one])
        require_finite(opt, update, f"step {step}, {what}", cause)
        if opt.skipped_steps:
            raise ViolationError(f"step {step}, {what}: the step is skipped, and its numbers are finite; {cause}")
    if sound and not finite(opt.state_dict()["state"]):
        bad = [name for name in opt.state if not finite(opt.state_dict()["state"][name])]
        raise ViolationError(f"{what}: 20 steps later the state {', '.join(bad)} is not finite; {cause}")
