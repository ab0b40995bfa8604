"""What carries over from step to step: saved, loaded, moved to where the parameters are, measured.

State is nested: dicts, lists and tuples of tensors, arrays and plain values.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NotRequired, TypedDict

import numpy as np
import torch
from torch import Tensor

from mtbench.errors import ConfigError, UsageError, shown


class OptimizerState(TypedDict):
    """Everything of a method that carries over from step to step; what a checkpoint keeps."""

    optimizer: str
    num_tasks: int
    state: dict[str, Any]
    """The attributes named in ``Stateful.state``: tensors (on the CPU), arrays, plain values."""
    next_step: int
    skipped_steps: int
    generator: Mapping[str, Any]
    """The state of the generator's bits."""
    blocks: NotRequired[list[dict[str, Any]]]
    """``state`` of each group of parameters, where each has its own; ``state`` is then the first's."""


class Stateful:
    """The part of a method that a checkpoint keeps; :class:`mtbench.optim.contract.MultitaskOptimizer` starts it."""

    name: ClassVar[str]
    """How the registry and the command line call it."""
    state: ClassVar[tuple[str, ...]] = ()
    """Names of the attributes that carry over from step to step; set them in :meth:`init_state`."""

    theta: Tensor
    num_tasks: int
    generator: np.random.Generator
    """The only source of random numbers, seeded by ``start``."""
    skipped_steps: int
    _next_step: int
    _started = False
    _carried = False
    """Whether a state was loaded before ``start``."""
    _carried_tasks: int | None = None

    def init_state(self) -> None:
        """Set every attribute named in :attr:`state` to its first value."""

    def state_dict(self) -> OptimizerState:
        """Everything that carries over: tensors (on the CPU), arrays and plain values; a copy."""
        self._require_started()
        values = {field: copied(getattr(self, field)) for field in self.state}
        return {
            "optimizer": self.name,
            "num_tasks": self.num_tasks,
            "state": values,
            "next_step": self._next_step,
            "skipped_steps": self.skipped_steps,
            "generator": copy.deepcopy(self.generator.bit_generator.state),
        }

    def load_state_dict(self, state: OptimizerState) -> None:
        """Take over a state; after :meth:`start` to resume inside an episode, before it to carry over into one."""
        if not isinstance(state, dict) or not {"state", "next_step", "skipped_steps", "generator"} <= set(state):
            raise ConfigError(f"{self.name}: this is no state_dict of an optimizer: {shown(state)}")
        if state.get("optimizer", self.name) != self.name:
            raise ConfigError(f"{self.name}: this is the state of {state['optimizer']!r}")
        if self._started and state.get("num_tasks", self.num_tasks) != self.num_tasks:
            raise ConfigError(f"{self.name}: this is the state of {state['num_tasks']} tasks, not of {self.num_tasks}")
        missing = set(self.state) ^ set(state["state"])
        if missing:
            raise ConfigError(f"{self.name}: state has other fields than this version: {', '.join(sorted(missing))}")
        for field, value in state["state"].items():
            setattr(self, field, copy.deepcopy(value))
        self.skipped_steps = int(state["skipped_steps"])
        self.generator = np.random.default_rng()
        self.generator.bit_generator.state = copy.deepcopy(state["generator"])
        self._carried, self._carried_tasks = True, state.get("num_tasks")
        if self._started:
            self._place_state()
            self._next_step = int(state["next_step"])

    def _place_state(self) -> None:
        """A checkpoint's tensors lie on the processor: bring them to where ``theta`` is."""
        for field in self.state:
            setattr(self, field, moved(getattr(self, field), self.theta.device))

    def state_bytes(self) -> int:
        """Bytes of the state that carries over."""
        return sum(nbytes(getattr(self, field, None)) for field in self.state)

    def _require_started(self) -> None:
        if not self._started:
            raise UsageError(f"{self.name}: call start(theta, num_tasks, total_steps) first")


def copied(value: Any) -> Any:
    """A copy, whose tensors lie on the CPU: a second one of all state may be more than a GPU holds."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    return _each(copied, value) if isinstance(value, (dict, list, tuple)) else copy.deepcopy(value)


def moved(value: Any, device: torch.device) -> Any:
    """``value`` with its tensors, however deep, on ``device``."""
    if isinstance(value, Tensor):
        return value.to(device)
    return _each(lambda v: moved(v, device), value)


def nbytes(value: Any) -> int:
    """Bytes of the tensors, arrays and numbers in ``value``."""
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, dict):
        return sum(nbytes(v) for v in value.values())
    if isinstance(value, (list, tuple)):
        return sum(nbytes(v) for v in value)
    return 8 if isinstance(value, (int, float)) else 0


def _each(change: Callable[[Any], Any], value: Any) -> Any:
    if isinstance(value, dict):
        return {key: change(v) for key, v in value.items()}
    return type(value)(change(v) for v in value) if isinstance(value, (list, tuple)) else value
