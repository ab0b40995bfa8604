"""Memory: what a method holds at once, from before start() on, for few tasks and for many."""

from __future__ import annotations

import tracemalloc
import weakref
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mtbench.optim.conformance.bench import Subject, ViolationError, draw_order, hooks
from mtbench.optim.contract import MultitaskOptimizer

FEW, MANY, LENGTH = 2, 16, 3
SIZES = {"losses": 1 << 16, "norms": 1 << 16, "gram": 1 << 18, "elementwise": 1 << 15}
"""d: large beside the chunks that a Gram matrix works in."""
SLACK = 4.0
"""Vectors of d that any method may hold: an accumulator, the update, a temporary."""


class _Allocations(TorchDispatchMode):
    """The most bytes that tensors made inside hold at one time."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._alive: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        known = {t.untyped_storage().data_ptr() for t in _tensors([args, kwargs or {}])}
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            storage = tensor.untyped_storage()
            pointer = storage.data_ptr()
            if pointer and pointer not in known and pointer not in self._alive:
                self._alive[pointer] = storage.nbytes()
                weakref.finalize(storage, self._alive.pop, pointer, None)
        self.peak = max(self.peak, sum(self._alive.values()))
        return result


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [t for v in value for t in _tensors(v)] if isinstance(value, (list, tuple)) else []


def cost_class(subject: Subject) -> str:
    """A loss-only method keeps no rows whatever K is, a Gram method keeps K rows once and makes no more."""
    cost = subject.cls.cost
    size = SIZES[cost]
    most = 0.0
    for num_tasks in (FEW, MANY):
        for whole in (False, True):
            held, state = _held(subject, num_tasks, size, whole)
            rows = {"losses": 0.0, "norms": 0.0, "gram": 0.0 if whole else 1.05, "elementwise": 8.0}[cost]
            rows *= subject.cls.draws
            limit = SLACK + state + rows * num_tasks
            if held > limit:
                raise ViolationError(
                    f"declares cost {cost!r} but holds {held:.1f} vectors of d at once between start() and step "
                    f"{LENGTH - 1}, beyond {limit:.1f} (K = {num_tasks}, {'combine' if whole else 'task by task'}, "
                    f"state of {state:.1f}): rows are kept or copied"
                )
            most = max(most, held)
    return f"{cost}: at most {most:.1f} vectors of d at once with K = {MANY}"


def _held(subject: Subject, num_tasks: int, size: int, whole: bool) -> tuple[float, float]:
    """Vectors of d (float32) held at once, torch's and numpy's, and those that the state is."""
    generator = torch.Generator().manual_seed(2)
    rows, losses = torch.randn(num_tasks, size, generator=generator), 1.0 + torch.rand(num_tasks, generator=generator)
    theta, out = torch.randn(size, generator=generator), torch.empty(size)
    with _Allocations():  # what a first call imports and caches is not the method's
        _steps(subject, theta[:8], rows[:, :8].contiguous(), losses, out[:8], whole)
    tracemalloc.start()
    try:
        with _Allocations() as made:
            opt = _steps(subject, theta, rows, losses, out, whole)
        arrays = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    return (made.peak + arrays) / (4 * size), opt.state_bytes() / (4 * size)


def _steps(
    subject: Subject, theta: Tensor, rows: Tensor, losses: Tensor, out: Tensor, whole: bool
) -> MultitaskOptimizer:
    """Some steps of a new optimizer, by combine or task by task."""
    opt, num_tasks = subject.make(), len(rows)
    names = [f"task{k}" for k in range(num_tasks)]
    opt.start(theta, num_tasks, 20, task_sizes=[10] * num_tasks, task_names=names)
    for step in range(LENGTH):
        more = hooks(opt, rows, losses)
        if whole:
            opt.combine(rows, losses, **more)
        else:
            opt.begin_step(step, losses.tolist(), **more)
            for draw in draw_order(opt):
                for k in range(num_tasks):
                    opt.task(k, rows[k], float(losses[k]), draw)
            opt.finish(out)
        opt.after_step(losses.tolist)
    return opt
