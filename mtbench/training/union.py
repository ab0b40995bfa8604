"""``train.mixing=union``: a batch is the next B queries of one shuffled union of all tasks, negatives across tasks.

As DPR trains on several data sets (Maillard et al., ACL 2021): a step's loss is the mean over the batch's queries,
whose negatives are all other passages of the batch, of whatever task. What a task has of it, and what multitask
optimizers combine, is its own queries' part: L_k = K / B times the sum over its queries, so that the mean of the K task
losses (naive's) is the loss of the batch. A task of which a batch has no query has the loss 0 and the gradient 0 in
that step.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mtbench.training.batches import BatchOrder
from mtbench.training.examples import TaskBatch, TaskExamples
from mtbench.training.forward import Pending, TaskForward
from mtbench.training.loss import batch_loss
from mtbench.training.streams import stream


class UnionOrder:
    """Which queries stand in which batch: a pure function of (seed, episode, step)."""

    def __init__(self, order: BatchOrder) -> None:
        self._order = order
        self._starts = np.cumsum([0, *(len(rows) for rows in order.rows)])
        self._shuffled = functools.lru_cache(maxsize=2)(self._shuffle)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def rows(self, step: int) -> list[tuple[np.ndarray, int]]:
        """Of each task, its query rows in the batch of ``step``, in order, and how often the union was gone through."""
        positions = np.arange(step * self._order.batch_size, (step + 1) * self._order.batch_size)
        cycles, places = np.divmod(positions, len(self))
        found = np.array([self._shuffled(int(c))[p] for c, p in zip(cycles, places, strict=True)])
        tasks = np.searchsorted(self._starts, found, side="right") - 1
        return [
            (self._order.rows[k][found[tasks == k] - self._starts[k]], int(cycles[0]))
            for k in range(len(self._order.rows))
        ]

    def _shuffle(self, cycle: int) -> np.ndarray:
        return stream("union", self._order.seed, self._order.episode, cycle).permutation(len(self))


class UnionForward:
    """The losses of all tasks of a union batch, over one graph: K backward passes through one forward pass."""

    def __init__(self, forward: TaskForward, examples: Sequence[TaskExamples]) -> None:
        self.forward, self.examples = forward, examples

    def __call__(self, batches: Sequence[TaskBatch], keys: Sequence[tuple[object, ...]]) -> list[Pending]:
        """``keys`` name the streams that dropout draws from, task by task."""
        forward, ranks = self.forward, self.forward.ranks
        vectors = [forward.vectors(e, b, key) for e, b, key in zip(self.examples, batches, keys, strict=True)]
        passages = torch.cat([own for _, own in vectors])
        starts = np.cumsum([0, *(len(batch.passage_rows) for batch in batches)])
        total, device = sum(len(batch.query_rows) for batch in batches), forward.device
        found = []
        for k, (batch, (queries, _)) in enumerate(zip(batches, vectors, strict=True)):
            if not len(batch.query_rows):
                found.append(Pending(0.0, _nothing))
                continue
            mine = ranks.share(len(batch.query_rows))
            targets = torch.as_tensor(batch.targets[mine] + starts[k], device=device)
            excluded = torch.as_tensor(self._excluded(k, batches, starts)[mine], device=device)
            loss = batch_loss(queries, passages, targets, excluded, total, forward.scale) * len(batches)
            value = float(ranks.all_reduce(loss.detach().clone()))
            found.append(Pending(value, functools.partial(_backward, loss)))
        return found

    def _excluded(self, k: int, batches: Sequence[TaskBatch], starts: np.ndarray) -> np.ndarray:
        """(B_k, all passages of the batch): what is no negative of task k's queries and not their target."""
        rows = np.concatenate([batch.passage_rows for batch in batches])
        barred = self.examples[k].barred
        excluded = np.stack([np.isin(rows, barred(int(q))) for q in batches[k].query_rows])
        excluded[:, starts[k] : starts[k + 1]] = batches[k].excluded
        return excluded


def _backward(loss: Tensor) -> None:
    loss.backward(retain_graph=True)  # the other tasks go through the same passages


def _nothing() -> None:
    """A task without a query in the batch."""
