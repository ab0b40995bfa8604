"""Slices: several ranks, each with its part of the coordinates, give what one object with all of them gives."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
    give,
    near,
    require_equal,
    same,
    start,
    weights,
)
from mtbench.optim.conformance.layers import LAYOUT, layered
from mtbench.optim.contract import Layout, MultitaskOptimizer
from mtbench.optim.states import OptimizerState

CUTS = ([0, 17, SIZE], [0, 9, 9, SIZE], [0, 5, 11, 11, SIZE])
"""Two, three and four ranks: uneven, inside tensors, one of them empty."""
HALF, LENGTH, BAD = 3, 7, 2
CLOSE = 1e-8
CAUSE = "a sum, maximum or norm over all coordinates must go through self.reduce_sum or reduce_max"


class Meeting:
    """The place where the ranks, threads of this process, add their tensors up; or learn that one has left."""

    def __init__(self, size: int) -> None:
        self._size, self._changed = size, threading.Condition()
        self._given: dict[int, tuple[str, Tensor]] = {}
        self._total, self._meetings, self._left = torch.zeros(0), 0, False

    def reducer(self, rank: int, kind: str) -> Callable[[Tensor], Tensor]:
        """``reduce_sum`` or ``reduce_max`` of one rank, in place as the real ones are."""

        def reduce(tensor: Tensor) -> Tensor:
            with self._changed:
                meeting = self._meetings
                self._given[rank] = (kind, tensor.clone())
                if len(self._given) == self._size:
                    self._add_up()
                else:
                    self._changed.wait_for(lambda: self._meetings > meeting or self._left)
                if self._meetings == meeting:
                    raise ViolationError("a rank waits in a reduction that another does not come to")
                return tensor.copy_(self._total)

        return reduce

    def _add_up(self) -> None:
        given = [self._given[rank] for rank in range(self._size)]
        kinds = {(kind, tuple(t.shape), t.dtype) for kind, t in given}
        if len(kinds) > 1:
            self.leave()
            raise ViolationError(f"the ranks reduce different things at one time: {sorted(map(str, kinds))}")
        stack = torch.stack([t for _, t in given])
        self._total = stack.sum(0, dtype=stack.dtype) if given[0][0] == "sum" else stack.amax(0)
        self._given, self._meetings = {}, self._meetings + 1
        self._changed.notify_all()

    def leave(self) -> None:
        """A rank has done its steps, or cannot."""
        with self._changed:
            self._left = True
            self._changed.notify_all()


@dataclass(frozen=True)
class _Run:
    """What the whole did: its steps, its updates, its state in the middle and at the end."""

    stream: list[Step]
    layout: Layout | None
    told: bool
    updates: list[Tensor]
    middle: OptimizerState
    end: OptimizerState


def slices(subject: Subject) -> str:
    """Two to four ranks with slices of the coordinates give the whole's updates, also from the whole's state."""
    if not subject.cls.shardable:
        return "not shardable: runs with a sharded state refuse it"
    stream = conflicting_steps(steps=LENGTH)
    stream[BAD][0][1, SIZE - 1] = math.nan  # only the last rank sees it
    _try(subject, stream, None, True, CUTS)
    _try(subject, stream, None, False, CUTS[-1:])
    _try(subject, stream, LAYOUT, True, CUTS[-1:])
    for one in layered(subject):  # most blocks are empty on one of the ranks
        _try(one, stream[: BAD + 1], LAYOUT, True, CUTS[:1])
    return (
        f"{', '.join(str(len(cuts) - 1) for cuts in CUTS)} ranks with uneven and empty slices give the whole's updates"
    )


def _try(subject: Subject, stream: list[Step], layout: Layout | None, told: bool, cuts: Sequence[list[int]]) -> None:
    opt = subject.start(layout=layout)
    first, last = stream[:HALF], stream[HALF:]
    updates = [_step(opt, t, one, told) for t, one in enumerate(first)]
    middle = opt.state_dict()
    updates += [_step(opt, t, one, told) for t, one in enumerate(last, start=HALF)]
    whole = _Run(stream, layout, told, updates, middle, opt.state_dict())
    for places in cuts:
        ranks = [subject.make() for _ in places[1:]]
        _compare(ranks, places, whole, 0)
        _compare_states(ranks, places, whole)
        if last:
            _compare([subject.make() for _ in places[1:]], places, whole, HALF)


def _step(opt: MultitaskOptimizer, step: int, one: Step, told: bool) -> Tensor:
    update, _ = give(opt, step, *one, told=told)
    after_step(opt, one[1])
    return update


def _begin(opt: MultitaskOptimizer, cuts: list[int], rank: int, layout: Layout | None) -> None:
    """Start the object of one rank as the training loop does: every tensor stays in the layout."""
    low, high = cuts[rank], cuts[rank + 1]
    opt.offset = low
    part = None if layout is None else [(n, _clip(a, low, high) - low, _clip(b, low, high) - low) for n, a, b in layout]
    start(opt, TASKS, layout=part, columns=range(low, high))


def _clip(value: int, low: int, high: int) -> int:
    return min(max(value, low), high)


def _compare(ranks: list[MultitaskOptimizer], cuts: list[int], whole: _Run, first: int) -> None:
    """From step ``first`` on, with the whole's state unless that is 0."""
    updates, reports = _in_threads(ranks, cuts, whole, first)
    where = "" if first == 0 else ", from the whole run's state"
    for step, pieces in enumerate(zip(*updates, strict=True), start=first):
        what = f"step {step}, {len(ranks)} ranks cut at {cuts[1:-1]} of {SIZE} coordinates{where}, against the whole"
        require_equal(torch.cat(pieces), whole.updates[step], CLOSE, what, CAUSE)
    if any(not same(found, reports[0]) for found in reports):
        raise ViolationError(
            f"{len(ranks)} ranks cut at {cuts[1:-1]}: their reported weights differ: "
            f"{reports[0].tolist()} on the first, {reports[-1].tolist()} on the last; {CAUSE}"
        )


def _in_threads(
    ranks: list[MultitaskOptimizer], cuts: list[int], whole: _Run, first: int
) -> tuple[list[list[Tensor]], list[np.ndarray]]:
    """The updates and the last reported weights of each rank; what one of them raises is raised here."""
    meeting = Meeting(len(ranks))
    updates: list[list[Tensor]] = [[] for _ in ranks]
    reports: list[np.ndarray] = [np.zeros(TASKS)] * len(ranks)
    errors: list[Exception] = []

    def work(rank: int, opt: MultitaskOptimizer) -> None:
        part = slice(cuts[rank], cuts[rank + 1])
        try:
            opt.reduce_sum, opt.reduce_max = meeting.reducer(rank, "sum"), meeting.reducer(rank, "max")
            _begin(opt, cuts, rank, whole.layout)
            if first:
                opt.load_state_dict(_cut(whole.middle, part))
            for step in range(first, len(whole.stream)):
                gradients, losses = whole.stream[step]
                updates[rank].append(_step(opt, step, (gradients[:, part], losses), whole.told))
            reports[rank] = weights(opt)
        except Exception as error:  # noqa: BLE001 - raised again in the caller's thread
            errors.append(error)
        finally:
            meeting.leave()

    threads = [threading.Thread(target=work, args=pair, daemon=True) for pair in enumerate(ranks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        error = next((e for e in errors if not isinstance(e, ViolationError)), errors[0])
        what = f"step {first + max(map(len, updates))}, {len(ranks)} ranks cut at {cuts[1:-1]}"
        said = str(error) if isinstance(error, ViolationError) else f"raised {type(error).__name__}: {error}"
        raise ViolationError(f"{what}: {said} (a slice may be empty)")
    return updates, reports


def _compare_states(ranks: list[MultitaskOptimizer], cuts: list[int], whole: _Run) -> None:
    """What the loop gathers for a checkpoint is the whole's state."""
    sizes = [b - a for a, b in itertools.pairwise(cuts)]
    states = [opt.state_dict()["state"] for opt in ranks]
    for name, expected in whole.end["state"].items():
        found = _gathered([state[name] for state in states], sizes)
        if not near(found, expected, 1e-7):
            raise ViolationError(
                f"{len(ranks)} ranks cut at {cuts[1:-1]}, after step {len(whole.stream) - 1}: the state {name!r} "
                f"put together is {found}, the whole's {expected}; state of coordinates must be tensors (..., d)"
            )


def _gathered(parts: list[Any], sizes: list[int]) -> Any:
    """Tensors (..., d of the rank) put together; all else must be the same everywhere: the first."""
    first = parts[0]
    if isinstance(first, dict):
        return {key: _gathered([p[key] for p in parts], sizes) for key in first}
    if isinstance(first, (list, tuple)):
        return type(first)(_gathered([p[i] for p in parts], sizes) for i in range(len(first)))
    if isinstance(first, Tensor) and all(p.shape[-1:] == (n,) for p, n in zip(parts, sizes, strict=True)):
        return torch.cat(parts, dim=-1)
    return first


def _cut(state: Any, part: slice) -> Any:
    """One rank's part of a whole state, as the loop gives it out."""
    if isinstance(state, dict):
        return {key: _cut(value, part) for key, value in state.items()}
    if isinstance(state, (list, tuple)):
        return type(state)(_cut(value, part) for value in state)
    if isinstance(state, Tensor) and state.shape[-1:] == (SIZE,):
        return state[..., part].clone()
    return state
