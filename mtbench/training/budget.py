"""How long and in which batches a part of the tasks is trained, measured by the run that trains on all of them.

With S steps, batch B and a task's own share B_k of that run: ``steps`` takes S steps of B_k (as many steps, and as
many queries of the task), ``queries`` as many queries in whole batches, ``batch`` S steps of B.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

from mtbench.config import TrainConfig
from mtbench.training.batches import BatchOrder, task_batch_sizes


@dataclass(frozen=True)
class Budget:
    """``sizes``: queries a step of each task that is trained on; ``own`` of ``total``: their share of a whole batch."""

    sizes: list[int]
    own: int
    total: int
    shortened: bool = False

    def steps(self, whole: int) -> int:
        """Steps, where the run on all tasks takes ``whole``."""
        return -(-whole * self.own // self.total) if self.shortened else whole


def task_budget(names: Sequence[str], counts: Sequence[int], tasks: Sequence[str], train: TrainConfig) -> Budget:
    """The budget of ``tasks`` out of ``names``, which have ``counts`` training queries; ConfigError as of
    :func:`task_batch_sizes`."""
    sizes = task_batch_sizes(counts, train.batch_size, train.share_temperature)
    places = [names.index(task) for task in tasks]
    own = [sizes[i] for i in places]
    if len(tasks) == len(names) or train.budget == "steps":
        return Budget(own, sum(own), train.batch_size)
    whole = task_batch_sizes([counts[i] for i in places], train.batch_size, train.share_temperature)
    return Budget(whole, sum(own), train.batch_size, train.budget == "queries")


def epoch_steps(counts: Sequence[int], sizes: Sequence[int], train: TrainConfig) -> int:
    """Steps in which every task's ``counts`` queries are read once, ``sizes`` of each a step: as many as the task that
    needs most takes, or with ``train.mixing=union`` as many as all queries together fill batches."""
    if train.mixing == "union":
        return math.ceil(sum(counts) / train.batch_size)
    return max(math.ceil(n / b) for n, b in zip(counts, sizes, strict=True))


def part_of(order: BatchOrder, tasks: Sequence[str], budget: Budget) -> BatchOrder:
    """The batches of ``tasks`` alone, out of the order of all tasks."""
    rows = [order.rows[order.names.index(task)] for task in tasks]
    return dataclasses.replace(order, names=list(tasks), rows=rows, batch_size=sum(budget.sizes), sizes=budget.sizes)
