"""What naive would have done in a step, from the same state: its update, its clipping, its step of Adam.

A method is compared with naive where both stand at the same weights and the same moments of Adam, step by step; what
the comparison computes is written down and never used, except that ``train.clip_norm=naive`` clips by it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mtbench.optim.chunks import chunk_size
from mtbench.optim.contract import MultitaskOptimizer
from mtbench.training.sharding import Shard

CLIP_NORM = 1.0
"""At which naive's update is clipped where ``train.clip_norm`` is ``naive``."""
CHUNK = 1 << 15
"""Coordinates per chunk on a processor, which stay in its cache."""


class NaiveStep:
    """The mean of a step's task gradients, in the method's ``scale``, in one vector of this rank's coordinates.

    Added up exactly as naive does it, so that naive is compared with itself bit for bit.
    """

    def __init__(self, shard: Shard, optimizer: MultitaskOptimizer) -> None:
        self.shard, self.optimizer = shard, optimizer
        self._vector: Tensor | None = None
        self._wanted, self._tasks = False, 0

    def begin(self, wanted: bool) -> None:
        """Open a step; if it is not ``wanted``, nothing is added up."""
        self._wanted, self._tasks = wanted, 0

    def task(self, gradient: Tensor) -> None:
        """One task's gradient on this rank's shared coordinates."""
        if not self._wanted:
            return
        if self._vector is None:
            self._vector = torch.zeros(self.shard.size, dtype=gradient.dtype, device=gradient.device)
        shared, num_tasks = self._vector[: self.shard.num_shared], self.optimizer.num_tasks
        share = float(self.optimizer.scaled(np.full(num_tasks, 1.0 / num_tasks))[0])
        if self._tasks:
            shared.add_(gradient, alpha=share)
        else:
            torch.mul(gradient, share, out=shared)
        self._tasks += 1

    def finish(self, update: Tensor) -> tuple[Tensor, float] | None:
        """Naive's update and its norm over all ranks, valid until the next step; None if it was not wanted.

        From ``update``, the method's own before clipping, it has what no method changes: the gradients of parameters
        that one task uses alone.
        """
        if not self._wanted or self._vector is None:
            return None
        shared = self._vector[: self.shard.num_shared]
        if self._tasks != self.optimizer.num_tasks:
            shared.mul_(self.optimizer.num_tasks / self._tasks)
        if self.optimizer.scale == "sum":
            shared.mul_(self._tasks)
        self._vector[self.shard.num_shared :] = update[self.shard.num_shared :]
        return self._vector, self.shard.norm(self._vector)


def largest_norm(setting: float | str, naive_norm: float) -> float:
    """To what an update is clipped by ``train.clip_norm``: the setting itself (infinite for 0), or with ``naive`` the
    norm that naive's update has after clipping."""
    if setting == "naive":
        return min(naive_norm, CLIP_NORM) if math.isfinite(naive_norm) else CLIP_NORM
    return float(setting) or math.inf


def clip(update: Tensor, norm: float, limit: float) -> bool:
    """Scale ``update``, whose norm is ``norm``, down to the norm ``limit``, in place; whether it was longer."""
    clipped = norm > limit
    if clipped:
        update.mul_(limit / norm)
    return clipped


def step_difference(adam: torch.optim.Optimizer, naive: Tensor, shard: Shard) -> float | None:
    """The norm of (Adam's next step - the one it would take with ``naive``) over the norm of the latter.

    ``adam``: before its step, its gradients set; ``naive``: another gradient of the same coordinates, in the order of
    its parameters. Steps without weight decay, in units of the learning rate; over the coordinates of all ranks. None
    where naive's step is 0 and Adam's is not. The temporaries are of one chunk.
    """
    squares, start = torch.zeros(2, dtype=torch.float64, device=naive.device), 0
    for group in adam.param_groups:
        for parameter in group["params"]:
            state, gradient = adam.state.get(parameter, {}), parameter.grad
            size = chunk_size(naive.device, CHUNK)
            for first in range(0, len(gradient), size):
                part = slice(first, min(first + size, len(gradient)))
                theirs = _adam_step(group, state, naive[start + part.start : start + part.stop], part)
                ours = _adam_step(group, state, gradient[part], part)
                squares[0] += ours.sub_(theirs).square_().sum(dtype=torch.float64)
                squares[1] += theirs.square_().sum(dtype=torch.float64)
            start += len(gradient)
    apart, length = shard.summed(squares).sqrt().tolist()
    if apart == 0:
        return 0.0
    return apart / length if 0 < length < math.inf and math.isfinite(apart) else None


def _adam_step(group: Mapping[str, Any], state: Mapping[str, Tensor], gradient: Tensor, part: slice) -> Tensor:
    """Adam's step on the coordinates ``part`` with this ``gradient``, over the learning rate."""
    beta, beta2 = group["betas"]
    step = float(state["step"]) + 1 if state else 1.0
    first, second = gradient * (1 - beta), gradient.square().mul_(1 - beta2)
    if state:
        first.add_(state["exp_avg"][part], alpha=beta)
        second.add_(state["exp_avg_sq"][part], alpha=beta2)
    scale = second.div_(1 - beta2**step).sqrt_().add_(group["eps"])
    return first.div_(1 - beta**step).div_(scale)
