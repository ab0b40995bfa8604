"""Which queries stand in which batch: temperature-scaled task batches whose order is a pure function.

TACO's rule (Zhang et al., TACL 2023, appendix): a task's share of a batch goes with N_k^(1/c). An epoch has as many
steps as the task that needs most; shorter tasks start over, reshuffled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mtbench.errors import ConfigError
from mtbench.training.streams import stream


def task_batch_sizes(sizes: Sequence[int], total: int, temperature: float) -> list[int]:
    """Queries of each task in one step: ``sum == total``, each at least 1, proportional to ``size^(1/temperature)``.

    Largest remainders after one query each has been set aside (``_get_int_mixture`` in the authors' code). ConfigError
    if there are more tasks than queries or a task has no training query.
    """
    if total < len(sizes):
        raise ConfigError(f"train.batch_size={total} is less than one query for each of {len(sizes)} tasks")
    if min(sizes) < 1:
        raise ConfigError("every task needs at least one training query")
    shares = np.asarray(sizes, dtype=np.float64) ** (1.0 / temperature)
    # the authors take 1 off each exact share and give it back at the end; a share below 1 stays at 1
    exact = np.maximum(total * shares / shares.sum() - 1.0, 0.0)
    whole = np.floor(exact).astype(int)
    spare = total - len(sizes) - int(whole.sum())
    while spare < 0:  # shares that were lifted to 1 cost the largest ones
        whole[int(np.argmax(whole))] -= 1
        spare += 1
    order = np.argsort(-(exact - np.floor(exact)), kind="stable")
    for k in np.resize(order, spare):
        whole[k] += 1
    return [int(n) + 1 for n in whole]


def check_contrast(
    names: Sequence[str], counts: Sequence[int], sizes: Sequence[int], hard_negatives: int, union: bool = False
) -> None:
    """ConfigError for tasks whose loss is 0 in every step: one query and no hard negative, so nothing to tell apart.

    ``counts``: training queries of each task; ``sizes``: how many of them a step takes (one that is taken several
    times has itself beside it, which is no negative). ``union``: all tasks' passages stand against each other.
    """
    if union and min(sum(counts), sum(sizes)) > 1:
        return
    alone = [name for name, count, size in zip(names, counts, sizes, strict=True) if min(count, size) < 2]
    if alone and hard_negatives == 0:
        raise ConfigError(
            f"with one query a step and train.hard_negatives=0 there is nothing to learn for {', '.join(alone)}: no "
            "passage stands against the relevant one, and the loss is always 0\n"
            f"  Set train.hard_negatives=1, or train.batch_size above {sum(sizes)} for tasks with more queries."
        )


@dataclass(frozen=True)
class Span:
    """``count`` queries of a task's stream from the place ``start`` on, read in step ``step``; ``draw``: which of
    several independent batches of that step they are."""

    step: int
    start: int
    count: int
    draw: int = 0


@dataclass(frozen=True)
class BatchOrder:
    """The batches of one training stage. ``rows[k]`` are the queries of task k that may be trained on."""

    names: Sequence[str]
    rows: Sequence[np.ndarray]
    batch_size: int
    temperature: float
    seed: int
    episode: int

    sizes: Sequence[int] = ()
    """Queries of each task in a step; empty: by the rule."""

    def __post_init__(self) -> None:
        if not self.sizes:
            sizes = task_batch_sizes([len(r) for r in self.rows], self.batch_size, self.temperature)
            object.__setattr__(self, "sizes", sizes)

    def span(self, step: int, k: int) -> Span:
        """What step ``step`` reads of task k where every step reads B_k queries."""
        return Span(step, step * self.sizes[k], self.sizes[k])

    def batch(self, span: Span, k: int) -> tuple[np.ndarray, int]:
        """Query rows ``(count,)`` of task k, and how often the task had been gone through before."""
        count = len(self.rows[k])
        positions = np.arange(span.start, span.start + span.count)
        cycles = positions // count
        parts = [self._shuffled(k, int(c))[positions[cycles == c] % count] for c in np.unique(cycles)]
        return np.concatenate(parts), int(cycles[0])

    def _shuffled(self, k: int, cycle: int) -> np.ndarray:
        """The order of task k in its ``cycle``-th round; the last one is remembered."""
        key = (k, cycle)
        cache: dict[tuple[int, int], np.ndarray] = self.__dict__.setdefault("_cache", {})
        if key not in cache:
            for old in [c for c in cache if c[0] == k and c[1] < cycle - 1]:
                del cache[old]
            draws = stream("order", self.seed, self.episode, self.names[k], cycle)
            cache[key] = self.rows[k][draws.permutation(len(self.rows[k]))]
        return cache[key]
