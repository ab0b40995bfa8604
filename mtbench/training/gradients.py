"""The task gradients of a step: one backward pass per task (and draw), each handed to the optimizer as it is done."""

from __future__ import annotations

import math
from typing import TypedDict

import torch
from torch import Tensor

from mtbench.optim.contract import MultitaskOptimizer
from mtbench.optim.hooks import GradientAt
from mtbench.training.diagnostics import Phases
from mtbench.training.examples import TrainingData, draw_key
from mtbench.training.forward import Pending, TaskForward
from mtbench.training.naive_step import NaiveStep
from mtbench.training.perturbed import PerturbedPass
from mtbench.training.reading import StepBatches
from mtbench.training.sharding import Shard
from mtbench.training.union import UnionForward


class _Told(TypedDict, total=False):
    """What ``begin_step`` is told beside the losses."""

    tasks: list[int]
    sizes: list[int]
    gradient_at: GradientAt


class TaskGradients:
    """Computes the gradients of the tasks in one flat buffer and gives them to ``optimizer``, and to ``naive``.

    What belongs to one task alone is written into ``update`` here, past the optimizer.
    """

    def __init__(
        self,
        forward: TaskForward,
        shard: Shard,
        data: TrainingData,
        optimizer: MultitaskOptimizer,
        naive: NaiveStep,
        update: Tensor,
        phases: Phases,
    ) -> None:
        self.task_forward, self.shard, self.optimizer, self.naive = forward, shard, optimizer, naive
        self.examples, self.order, self.update, self.phases = data.examples, data.order, update, phases
        self.perturbed = PerturbedPass(shard)
        self.union: UnionForward | None = None
        """Where batches are of a union of the tasks."""

    def step(self, step: int, batches: StepBatches, logged: bool, diagnosed: bool) -> tuple[list[float], Tensor | None]:
        """One backward pass per task (and draw), each handed to the optimizer as it is done; norms and rows for the
        log."""
        optimizer, row = self.optimizer, self.shard.flat.gradient[self.shard.shared]
        pending = self._begin(step, batches)
        norms = [math.nan] * len(self.examples) if logged else []
        rows = row.new_empty(len(self.examples), len(row)) if diagnosed else None
        for draw in [*range(1, optimizer.draws), 0]:
            for k in batches.tasks:
                with self.phases("forward_backward"):
                    self.shard.flat.gradient.zero_()
                    task = (pending.pop(k, None) if draw == 0 else None) or self.forward(step, k, batches, draw)
                    task.backward()
                    self.shard.reduce_scatter(self.shard.flat.gradient)
                if draw == 0:  # before the method, which may let the buffer be overwritten
                    self.take_own(k, batches)
                    self.naive.task(row)
                    if logged:
                        norms[k] = self.shard.norm(row.double())
                    if rows is not None:
                        rows[k] = row
                with self.phases("combine"):
                    optimizer.task(k, row, task.loss, *([draw] if draw else []))
        return norms, rows

    def _begin(self, step: int, batches: StepBatches) -> dict[int, Pending]:
        """Open the optimizer's step, telling it what it wants to know; the losses that are computed already."""
        pending: dict[int, Pending] = {}
        losses: list[float] | None = None
        if self.union is not None:
            with self.phases("forward_backward"):
                pending = self._of_union(self.union, step, batches)
            losses = batches.losses({k: task.loss for k, task in pending.items()}, len(self.examples))
            losses = losses if self.optimizer.needs_losses else None
        elif self.optimizer.needs_losses:
            with self.phases("forward_backward"):
                pending = {k: self.forward(step, k, batches) for k in batches.tasks}
            losses = batches.losses({k: task.loss for k, task in pending.items()}, len(self.examples))
        told: _Told = {}  # where nothing is asked for, methods are called as they always were
        if batches.chosen:
            told["tasks"] = batches.tasks
        if batches.sizes is not None:
            told["sizes"] = batches.sizes
        if self.optimizer.perturbs:
            told["gradient_at"] = self._gradient_at(step, batches)
        if len(batches.tasks) < len(self.examples):
            self.update[self.shard.num_shared :] = 0.0  # parameters of absent tasks alone have no gradient
        self.optimizer.begin_step(step, *([] if losses is None else [losses]), **told)
        return pending

    def _gradient_at(self, step: int, batches: StepBatches) -> GradientAt:
        def gradient_at(k: int, offset: Tensor, draw: int = 0) -> tuple[Tensor, float]:
            with self.phases("second_pass"):
                return self.perturbed(offset, lambda: self.forward(step, k, batches, draw))

        return gradient_at

    def _of_union(self, union: UnionForward, step: int, batches: StepBatches) -> dict[int, Pending]:
        keys = [(self.order.seed, self.order.episode, step, name) for name in self.order.names]
        return dict(enumerate(union([batches.of[k, 0] for k in batches.tasks], keys)))

    def forward(self, step: int, k: int, batches: StepBatches, draw: int = 0) -> Pending:
        if self.union is not None:
            return self._of_union(self.union, step, batches)[k]
        key = (self.order.seed, self.order.episode, step, self.order.names[k], *draw_key(draw))
        return self.task_forward(self.examples[k], batches.of[k, draw], key)

    def take_own(self, k: int, batches: StepBatches) -> None:
        """Parameters that only task k uses get its own gradient in mean form, past the optimizer."""
        own = self.shard.own_segment(self.examples[k].place)
        if own:
            share = 1.0 / len(batches.tasks)
            if self.optimizer.scale == "sum":
                share = 1.0
            elif batches.sizes is not None:
                share = batches.sizes[k] / sum(batches.sizes)
            torch.mul(self.shard.flat.gradient[own[0]], share, out=self.update[own[1]])

    @torch.no_grad()
    def losses(self, step: int, batches: StepBatches) -> list[float]:
        """The losses (K,) of the same batches once more, without a gradient; NaN for tasks that are not in the step."""
        if self.union is not None:
            losses = {k: task.loss for k, task in self._of_union(self.union, step, batches).items()}
        else:
            losses = {k: self.forward(step, k, batches).loss for k in batches.tasks}
        return batches.losses(losses, len(self.examples))
