"""All trainable parameters of a model in one flat buffer.

The loop owns the gradient: ``p.data`` and ``p.grad`` of every parameter are views into two flat fp32 buffers, so that
a task's gradient is one vector and the combined update is written unconditionally. (Code that relies on ``p.grad``
after ``zero_grad`` loses every update on torch 2, where gradients become None.)
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from mtbench.errors import ConfigError

Users = int | Collection[int]
"""One task, or several, by their places in the suite."""


@dataclass(frozen=True)
class Segment:
    """Where one parameter lies in the flat vector, and the only task that uses it (None: shared by all)."""

    name: str
    start: int
    stop: int
    task: int | None = None
    shape: tuple[int, ...] = ()
    embedding: bool = False
    """Whether it is a table that is looked up, not multiplied with."""


class FlatParameters:
    """``theta`` and ``gradient``: flat ``(d,)`` buffers behind a model's trainable parameters, float32 (float64 for a
    model in float64).

    Parameters shared by tasks come first, then those that only one task uses, task by task. ``owners`` maps name
    prefixes to the tasks that alone use them; where none of these is among ``tasks`` (None: all), the parameters are
    left out. ConfigError if a parameter is claimed by two tasks as their own.
    """

    def __init__(
        self, model: nn.Module, owners: Mapping[str, Users] | None = None, tasks: Collection[int] | None = None
    ) -> None:
        users = {prefix: {u} if isinstance(u, int) else {*u} for prefix, u in (owners or {}).items()}
        idle = tuple(prefix for prefix, own in users.items() if tasks is not None and own.isdisjoint(tasks))
        alone = {prefix: next(iter(own)) for prefix, own in users.items() if len(own) == 1}
        named = [(n, p) for n, p in model.named_parameters() if p.requires_grad and not n.startswith(idle or ("\0",))]
        placed = sorted(((self._owner(n, alone), i, n, p) for i, (n, p) in enumerate(named)), key=_order)
        total = sum(p.numel() for *_, p in placed)
        device = placed[0][3].device
        double = all(p.dtype == torch.float64 for *_, p in placed)
        self.theta = torch.empty(total, dtype=torch.float64 if double else torch.float32, device=device)
        self.gradient = torch.zeros_like(self.theta)
        self.segments: list[Segment] = []
        tables = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Embedding)}
        position = 0
        for owner, _, name, parameter in placed:
            stop = position + parameter.numel()
            view = self.theta[position:stop].view_as(parameter)
            with torch.no_grad():
                view.copy_(parameter)
            parameter.data = view
            parameter.grad = self.gradient[position:stop].view_as(parameter)
            self.segments.append(Segment(name, position, stop, owner, tuple(parameter.shape), name in tables))
            position = stop
        self.num_shared = max((s.stop for s in self.segments if s.task is None), default=0)
        self._model = model

    @staticmethod
    def _owner(name: str, owners: dict[str, int]) -> int | None:
        claims = {task for prefix, task in owners.items() if name.startswith(prefix)}
        if len(claims) > 1:
            raise ConfigError(f"parameter {name!r} is claimed as their own by the tasks {sorted(claims)}")
        return claims.pop() if claims else None

    @property
    def layout(self) -> list[tuple[str, int, int]]:
        """``(name, start, stop)`` of the shared parameters, which is what a multitask optimizer sees."""
        return [(s.name, s.start, s.stop) for s in self.segments if s.task is None]

    def own_segment(self, task: int) -> tuple[int, int] | None:
        """Start and stop of the parameters that only ``task`` uses, None if there are none."""
        own = [s for s in self.segments if s.task == task]
        return (own[0].start, own[-1].stop) if own else None

    def check_views(self) -> None:
        """Assert that the model still writes its gradients into the buffer (``model.to`` and the like break views)."""
        first = self.segments[0]
        parameter = dict(self._model.named_parameters())[first.name]
        intact = parameter.data_ptr() == self.theta[first.start :].data_ptr() and parameter.grad is not None
        assert intact, f"parameter {first.name!r} left the flat buffer; do not call model.to() or zero_grad()"


def _order(item: tuple[int | None, int, str, nn.Parameter]) -> tuple[int, int]:
    return (-1 if item[0] is None else item[0], item[1])
