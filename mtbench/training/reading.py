"""What a step reads: which tasks, how many queries of each, in how many independent draws.

A task's queries are one stream that is a pure function of (seed, episode, task); ``cursor`` says how far each was
read. Methods and settings differ only in how far they read, never in what comes next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mtbench.config import Config, TrainConfig
from mtbench.errors import ConfigError, UsageError
from mtbench.optim.contract import MultitaskOptimizer
from mtbench.training.batches import BatchOrder, Span
from mtbench.training.examples import TaskBatch, TrainingData, build_batch, fill_batch
from mtbench.training.streams import stream
from mtbench.training.union import UnionOrder


@dataclass(frozen=True)
class StepBatches:
    """The batches of one step, by task and draw."""

    tasks: list[int]
    of: dict[tuple[int, int], TaskBatch]
    sizes: list[int] | None = None
    """Queries of each task (K,), where the method asked for them."""
    chosen: bool = False
    """Whether tasks were left out on purpose by ``train.tasks_per_step``."""

    @property
    def drawn(self) -> int:
        """Negatives that had to be drawn from the corpora."""
        return sum(batch.drawn for batch in self.of.values())

    def losses(self, values: dict[int, float], num_tasks: int) -> list[float]:
        """One number for each of K tasks, NaN for those that are not in the step."""
        return [values.get(k, np.nan) for k in range(num_tasks)]


class Reader:
    """Reads a stage's batches, step after step. ConfigError for batches too small for what the method draws."""

    def __init__(self, data: TrainingData, optimizer: MultitaskOptimizer, config: Config) -> None:
        self.data, self.order, self.optimizer, self.config = data, data.order, optimizer, config
        self.cursor = [0] * len(data.examples)
        """Queries of each task that have been read."""
        self._union = UnionOrder(data.order) if config.train.mixing == "union" else None
        check_draws(self.order.names, self.order.sizes, optimizer.draws, config.train)

    def read(self, step: int) -> StepBatches:
        """The batches of step ``step``; steps come in their order."""
        if self._union is not None:
            return self._read_union(self._union, step)
        train, count = self.config.train, len(self.cursor)
        sizes, asked = list(self.order.sizes), self.asked()
        if asked is not None:
            sizes = asked
        tasks = tasks_of_step(self.order, step, train) if asked is None else [k for k in range(count) if sizes[k]]
        batches: dict[tuple[int, int], TaskBatch] = {}
        for k in tasks:
            for draw, size in enumerate(draw_sizes(sizes[k], self.optimizer.draws, train)):
                span = Span(step, self.cursor[k], size, draw)
                self.cursor[k] += size
                example = self.data.examples[k]
                batches[k, draw] = build_batch(example, self.order, k, span, train, self.config.negatives)
        return StepBatches(tasks, batches, asked, chosen=asked is None and len(tasks) < count)

    def _read_union(self, union: UnionOrder, step: int) -> StepBatches:
        batches: dict[tuple[int, int], TaskBatch] = {}
        for k, found in enumerate(union.rows(step)):
            span, train, negatives = Span(step, 0, len(found[0])), self.config.train, self.config.negatives
            batches[k, 0] = fill_batch(self.data.examples[k], self.order, k, found, span, train, negatives)
            self.cursor[k] += len(found[0])
        return StepBatches(list(range(len(self.cursor))), batches)

    def asked(self) -> list[int] | None:
        """The queries of each task that the method asks for; None where it leaves that to the settings."""
        if not self.optimizer.chooses_batches:
            return None
        shares = self.optimizer.shares()
        return None if shares is None else sizes_by_share(self.optimizer.name, shares, sum(self.order.sizes))


def sizes_by_share(name: str, shares: Sequence[float], total: int) -> list[int]:
    """Queries of each task by largest remainders of ``total * share``, at least 1 where the share is not 0.

    UsageError for shares that are no numbers >= 0 with a sum above 0, and for more tasks than queries.
    """
    values = np.asarray(shares, dtype=np.float64)
    if not np.isfinite(values).all() or values.min() < 0 or values.sum() <= 0:
        raise UsageError(f"{name}: shares() must give numbers >= 0, not all 0; got {[float(v) for v in values]}")
    wanted = np.flatnonzero(values)
    if len(wanted) > total:
        raise UsageError(f"{name}: shares() asks for {len(wanted)} tasks in a batch of {total} queries")
    exact = total * values / values.sum()
    sizes = np.maximum(np.floor(exact), values > 0).astype(int)
    rest = np.where(values > 0, exact - np.floor(exact), -1.0)
    for k in np.argsort(-rest, kind="stable")[: max(0, total - sizes.sum())]:
        sizes[k] += 1
    while sizes.sum() > total:  # shares that were lifted to 1 cost the largest ones
        sizes[int(np.argmax(sizes))] -= 1
    found: list[int] = sizes.tolist()
    return found


def tasks_of_step(order: BatchOrder, step: int, train: TrainConfig) -> list[int]:
    """The tasks of a step, a pure function of (seed, episode, step): all, or ``train.tasks_per_step`` of them."""
    count, wanted = len(order.names), train.tasks_per_step
    if not 0 < wanted < count:
        return list(range(count))
    if train.task_order == "round_robin":
        return sorted((step * wanted + j) % count for j in range(wanted))
    if train.task_order == "shuffled":
        cycle, piece = divmod(step, -(-count // wanted))
        shuffled = stream("task order", order.seed, order.episode, cycle).permutation(count)
        return sorted(shuffled[piece * wanted : (piece + 1) * wanted].tolist())
    shares = np.asarray([len(rows) for rows in order.rows], dtype=np.float64) ** (1.0 / order.temperature)
    draws = stream("task order", order.seed, order.episode, step)
    return sorted(draws.choice(count, wanted, replace=False, p=shares / shares.sum()).tolist())


def stage_steps(steps: int, num_tasks: int, train: TrainConfig) -> int:
    """Steps of a stage that would have ``steps`` of all tasks: as many more as there are tasks left out of each, so
    that every task reads as many queries."""
    wanted = train.tasks_per_step
    if not 0 < wanted < num_tasks:
        return steps
    if train.task_order == "shuffled":
        return steps * -(-num_tasks // wanted)  # the last piece of a cycle may be shorter
    return -(-steps * num_tasks // wanted)


def draw_sizes(size: int, draws: int, train: TrainConfig) -> list[int]:
    """Queries of each draw of a task whose share of the batch is ``size``."""
    if train.draws == "extra" or draws == 1:
        return [size] * draws
    return [size * (d + 1) // draws - size * d // draws for d in range(draws)]


def check_draws(names: Sequence[str], sizes: Sequence[int], draws: int, train: TrainConfig) -> None:
    """ConfigError where ``train.draws=split`` leaves a draw without a query, or with one and nothing beside it."""
    needed = draws * (2 if train.hard_negatives == 0 else 1)
    short = [name for name, size in zip(names, sizes, strict=True) if size < needed]
    if train.draws == "split" and draws > 1 and short:
        raise ConfigError(
            f"train.draws=split: {needed} queries a step are needed for {draws} draws, more than a batch has of "
            f"{', '.join(short)}\n  Raise train.batch_size (now {train.batch_size}), or use train.draws=extra."
        )
