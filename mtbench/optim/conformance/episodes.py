"""Episodes: resume at any step, a second start on one object, seeds, the declared state."""

from __future__ import annotations

import io
import random
from typing import Any

import numpy as np
import torch

from mtbench.hyperparameters import hyperparameters
from mtbench.optim.conformance.bench import (
    SIZE,
    TASKS,
    Step,
    Subject,
    ViolationError,
    conflicting_steps,
    require_equal,
    run,
    same,
    start,
)
from mtbench.optim.contract import MultitaskOptimizer
from mtbench.optim.states import OptimizerState

LOST = "name everything that carries over in `state`, and set it in init_state()"
WINDOW, WINDOWS = 6, 4


def resume(subject: Subject) -> str:
    """Saved and loaded at any step of a run of several windows, the rest is bit-identical."""
    subject = _short_windows(subject)
    stream = conflicting_steps(steps=WINDOW * WINDOWS)
    whole = subject.start(total_steps=len(stream))
    expected, saved = [], [_through_a_file(whole)]
    for one in stream:
        expected += run(whole, [one])
        saved.append(_through_a_file(whole))
    at_random = sorted(np.random.default_rng(3).choice(np.arange(1, len(stream)), 4, replace=False).tolist())
    for place in at_random:
        later = _resumed(subject, saved[place], stream)
        for step, update in enumerate(run(later, stream[place:]), start=place):
            what = f"step {step}, resumed from state_dict() after step {place - 1}, against the uninterrupted run"
            require_equal(update, expected[step], 0, what, LOST)
        if not same(later.state_dict(), saved[-1]):
            raise ViolationError(f"resumed after step {place - 1}, the state ends differently from the whole run's")
    state = saved[0]
    for step, one in enumerate(stream):  # a stop after every step, each on the one before
        later = _resumed(subject, state, stream)
        [update] = run(later, [one])
        what = f"step {step}, stopped and resumed after every step, against the uninterrupted run"
        require_equal(update, expected[step], 0, what, LOST)
        state = _through_a_file(later)
        if not same(state, saved[step + 1]):
            raise ViolationError(f"step {step}: stopped and resumed after every step, the state differs; {LOST}")
    return f"resumed after steps {', '.join(str(p - 1) for p in at_random)}, and after each, the rest is bit-identical"


def _short_windows(subject: Subject) -> Subject:
    """Whole numbers above a window are lengths of something: short enough that several pass."""
    short: dict[str, int] = {}
    for place, declared in enumerate(hyperparameters(subject.cls).values()):
        value = subject.make().params[declared.name]
        if declared.kind is int and not declared.choices and not declared.per_task and value > WINDOW:
            wanted = 3 + place % (WINDOW - 2)
            lows = [b for b in (declared.ge, None if declared.gt is None else declared.gt + 1) if b is not None]
            short[declared.name] = int(max([wanted, *lows]))
    return subject.using(**short)


def _through_a_file(opt: MultitaskOptimizer) -> OptimizerState:
    file = io.BytesIO()
    torch.save(opt.state_dict(), file)
    file.seek(0)
    state: OptimizerState = torch.load(file, weights_only=False)
    return state


def _resumed(subject: Subject, state: OptimizerState, stream: list[Step]) -> MultitaskOptimizer:
    """An object that has had another life: another seed, and steps of its own."""
    later = subject.start(seed=99, total_steps=len(stream))
    run(later, conflicting_steps(steps=2, seed=8))
    later.load_state_dict(state)
    return later


# -- a second start ------------------------------------------------------------------------------------------------

OTHERS: list[dict[str, Any]] = [
    {"num_tasks": 3},
    {"size": 17},
    {"seed": 5},
    {"dtype": torch.float32},
    {"num_tasks": 6, "size": 9, "seed": 7, "dtype": torch.float32},
]


def second_start(subject: Subject) -> str:
    """A second start on one object: reset equals a new object, kept state survives."""
    for other in OTHERS:
        used, new = subject.start(), subject.make()
        run(used, conflicting_steps(steps=7))
        start(used, **other)
        start(new, **other)
        shape = (other.get("num_tasks", TASKS), other.get("size", SIZE))
        stream = conflicting_steps(*shape, steps=8, seed=2, dtype=other.get("dtype", torch.float64))
        words = ", ".join(f"{key} = {value}" for key, value in other.items())
        for step, (a, b) in enumerate(zip(run(used, stream), run(new, stream), strict=True)):
            cause = "something of the first episode is left: set all of it in init_state() or begin_episode()"
            require_equal(a, b, 0, f"step {step} after a second start with {words}, against a new object", cause)
        if not same(used.state_dict(), new.state_dict()):
            raise ViolationError(f"after a second start with {words} the state ends differently from a new object's")
    if not subject.cls.state or "reset_on_episode" not in hyperparameters(subject.cls):
        return "a second start with other K, d, seed or dtype equals a new object's"
    _state_survives(subject.using(reset_on_episode=False))
    return "a second start equals a new object's; with reset_on_episode=False the state survives it"


def _state_survives(subject: Subject) -> None:
    opt, stream = subject.start(), conflicting_steps(steps=7)
    run(opt, stream)
    before = opt.state_dict()
    start(opt)
    for name in opt.state:
        was, now = before["state"][name], opt.state_dict()["state"][name]
        if not same(was, now):
            raise ViolationError(
                f"reset_on_episode=False: the second start changes the state {name!r} from {was} to {now}: set state "
                "in init_state() only, not in begin_episode()"
            )
    other = subject.make()
    other.load_state_dict(before)
    start(other)
    later = conflicting_steps(steps=8, seed=2)
    for step, (a, b) in enumerate(zip(run(opt, later), run(other, later), strict=True)):
        what = f"step {step} after a second start with the kept state, against a new object that loaded it before start"
        require_equal(a, b, 0, what, LOST)


# -- seeds and state -----------------------------------------------------------------------------------------------


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
    for step, (a, b) in enumerate(zip(*results, strict=True)):
        what = f"step {step} of two runs with the same seed"
        require_equal(a, b, 0, what, "take all randomness from self.generator")
    if not subject.cls.random:
        for step, (a, b) in enumerate(zip(results[0], run(subject.start(seed=8), stream), strict=True)):
            require_equal(b, a, 0, f"step {step} with seed 8 instead of 7", "it draws: declare random = True")
    return "the same seed gives the same result, whatever the global generators are at; they are not moved"


def state_changes(subject: Subject) -> str:
    """What is declared as state exists and changes."""
    if not subject.cls.state:
        return "declares no state"
    hidden = [field for field in subject.cls.state if hasattr(MultitaskOptimizer, field)]
    if hidden:
        raise ViolationError(f"state named {', '.join(hidden)} hides a method of MultitaskOptimizer: rename it")
    opt = subject.start()
    before: dict[str, Any] = opt.state_dict()["state"]
    if not hasattr(opt, "reset_on_episode"):
        raise ViolationError("has state but no reset_on_episode: add `reset_on_episode: bool = reset_field()`")
    run(opt, conflicting_steps(steps=8))
    changed = [f for f in subject.cls.state if not same(before[f], opt.state_dict()["state"][f])]
    if not changed:
        raise ViolationError(f"declares the state {', '.join(subject.cls.state)}, which 8 steps leave as it was")
    return f"state that changes: {', '.join(changed)}; {opt.state_bytes()} bytes at K = {TASKS}, d = {SIZE}"
