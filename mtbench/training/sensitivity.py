"""Which parameters belong to which task: sensitivities |theta * g_k| of a trained encoder, and what follows from them.

Zhang et al., "Improving Multitask Retrieval by Promoting Task Specialization" (TACL 2023) and the ICLR submission
TACO-DR: density of the raw sensitivities by task (Figure 2), and the entropy over tasks of each parameter, with the
bins *not activated* and *task specific* (Figures 1 and 3). The K x d table is kept on disk and read in column chunks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mtbench.config import AnalyzeConfig
from mtbench.records.curves import Entropy, MedianOver, Sensitivity

CHUNK = 1 << 20
BINS_PER_DECADE = 10
LOWEST, HIGHEST = -40, 20
"""Powers of ten between which sensitivities are counted; float32 ends at 1e-38."""
OUTLIERS = 1e-3
"""Share of a task's sensitivities that may be dropped at each end of the densities."""

Block = NDArray[np.float64]


@dataclass(frozen=True)
class Normalisation:
    """What makes the sensitivities of different tasks comparable: the medians (K,) they are divided by."""

    medians: list[float]
    over: MedianOver
    counted: int
    """Parameters in each median."""
    zeros: list[int]
    """Parameters by task whose sensitivity is 0."""
    unused: int
    """Parameters whose sensitivity is 0 for every task."""


@dataclass
class SensitivityTable:
    """Mean sensitivities of K tasks over several batches, float32 ``(K, d)`` in a memory-mapped file."""

    path: Path
    num_tasks: int
    size: int

    def __post_init__(self) -> None:
        shape = (self.num_tasks, self.size)
        self._rows = np.lib.format.open_memmap(self.path, mode="w+", dtype=np.float32, shape=shape)

    def add(self, k: int, theta: torch.Tensor, gradient: torch.Tensor, share: float) -> None:
        """Add ``share * |theta * gradient|`` to the row of task k, chunk by chunk."""
        for start in range(0, self.size, CHUNK):
            stop = min(start + CHUNK, self.size)
            part = (theta[start:stop] * gradient[start:stop]).abs_().mul_(share)
            self._rows[k, start:stop] += part.cpu().numpy()

    def normalisation(self) -> Normalisation:
        """The lower median of each task's sensitivities over one set of parameters: those that every task uses.

        A zero says that no batch of the task touches the parameter (the embedding of a word that it lacks), not how
        much it matters: were zeros counted, the task with fewer words would have the smaller median, and so seem more
        sensitive everywhere else. Tasks without any gradient use nothing and stand out. Where no parameter is used by
        all the others, each task's median is over what it uses itself (``over`` says so).
        """
        used, common = np.zeros(self.size, dtype=bool), np.ones(self.size, dtype=bool)
        zeros = []
        for row in self._rows:
            positive = row > 0
            used |= positive
            if positive.any():
                common &= positive
            zeros.append(self.size - int(positive.sum()))
        common &= used
        over: MedianOver = "used by all tasks" if common.any() else "used by the task"
        medians = []
        for row in self._rows:
            values = row[common] if common.any() else row[row > 0]
            medians.append(float(np.quantile(values, 0.5, method="lower")) if len(values) else 0.0)
        return Normalisation(medians, over, int(common.sum()), zeros, self.size - int(used.sum()))

    def density(self, tasks: list[str]) -> Sensitivity:
        """Histograms by task of log10 of the raw sensitivities that are not 0, without the outliers at both ends."""
        found = _Densities(self.num_tasks)
        for block in self._blocks():
            found.add(block)
        return found.result(tasks)

    def entropy(self, tasks: list[str], medians: list[float], settings: AnalyzeConfig) -> Entropy:
        """Histogram of the parameters' entropy over tasks, and how many are of each kind."""
        kinds = _Kinds(self.num_tasks, settings)
        divisors = np.array([m if m > 0 else 1.0 for m in medians])[:, None]
        for block in self._blocks():
            kinds.add(block / divisors)
        return kinds.result(tasks)

    def close(self) -> None:
        """Delete the file."""
        del self._rows
        self.path.unlink(missing_ok=True)

    def _blocks(self) -> Iterator[Block]:
        for start in range(0, self.size, CHUNK):
            yield np.asarray(self._rows[:, start : start + CHUNK], dtype=np.float64)


def shares_of(sensitivities: Block, settings: AnalyzeConfig) -> Block:
    """Distribution over tasks of each parameter, (K, n), from normalised ``sensitivities`` (K, n) that are not all 0.

    ``softmax``: of I / tau, Equation 2 of the TACL paper and 6 of TACO-DR; ``shares``: I divided by its sum.
    """
    if settings.distribution == "shares":
        return sensitivities / sensitivities.sum(axis=0)
    powers = np.exp((sensitivities - sensitivities.max(axis=0)) / settings.tau)
    return np.asarray(powers / powers.sum(axis=0))


def entropy_of(shares: Block) -> NDArray[np.float64]:
    """Entropy in nats (n,) of the distributions in the columns of ``shares`` (K, n)."""
    return np.asarray(-(shares * np.log(np.maximum(shares, 1e-300))).sum(axis=0))


class _Densities:
    """How many sensitivities of each task lie in each bin of their logarithm."""

    def __init__(self, num_tasks: int) -> None:
        self.counts = np.zeros((num_tasks, (HIGHEST - LOWEST) * BINS_PER_DECADE), dtype=np.int64)
        self.beyond = np.zeros(num_tasks, dtype=np.int64)

    def add(self, block: Block) -> None:
        """Count the sensitivities in ``block`` (K, n) that are not 0."""
        bins = self.counts.shape[1]
        for k, row in enumerate(block):
            places = np.floor((np.log10(row[row > 0]) - LOWEST) * BINS_PER_DECADE).astype(np.int64)
            inside = places[(places >= 0) & (places < bins)]
            self.counts[k] += np.bincount(inside, minlength=bins)
            self.beyond[k] += len(places) - len(inside)

    def result(self, tasks: list[str]) -> Sensitivity:
        first, last = self._span()
        kept = self.counts[:, first:last]
        dropped = self.counts.sum(axis=1) + self.beyond - kept.sum(axis=1)
        edges = [round(LOWEST + i / BINS_PER_DECADE, 4) for i in range(first, last + 1)]
        return {
            "tasks": tasks,
            "bins": edges,
            "unit": "log10 of |theta * g|",
            "counts": {t: kept[k].tolist() for k, t in enumerate(tasks)},
            "outliers": {t: int(dropped[k]) for k, t in enumerate(tasks)},
        }

    def _span(self) -> tuple[int, int]:
        """First and last bin (exclusive) that hold all but the outliers of every task."""
        firsts, lasts = [], []
        for row in self.counts[self.counts.any(axis=1)]:
            most = OUTLIERS * row.sum()
            firsts.append(int(np.argmax(row.cumsum() > most)))
            lasts.append(len(row) - int(np.argmax(row[::-1].cumsum() > most)))
        return min(firsts, default=0), max(lasts, default=0)


class _Kinds:
    """Parameters by kind: unused, not activated, specific to one task, or shared with what entropy over tasks."""

    def __init__(self, num_tasks: int, settings: AnalyzeConfig) -> None:
        self.num_tasks, self.settings = num_tasks, settings
        highest = math.log(max(2, num_tasks))
        lowest = settings.task_specific if settings.task_specific < highest else 0.0
        self.edges = np.linspace(lowest, highest, 25)
        self.shared = np.zeros(len(self.edges) - 1, dtype=np.int64)
        self.owners = np.zeros(num_tasks, dtype=np.int64)
        self.parameters = self.unused = self.idle = self.committed = 0

    def add(self, block: Block) -> None:
        """Count the parameters whose normalised sensitivities are the columns of ``block`` (K, n)."""
        settings, largest = self.settings, block.max(axis=0)
        used, active = largest > 0, largest >= max(settings.not_activated, np.finfo(np.float64).tiny)
        self.parameters += block.shape[1]
        self.unused += int((~used).sum())
        self.idle += int((used & ~active).sum())
        shares = shares_of(block[:, active], settings)
        entropy = entropy_of(shares)
        specific = entropy < settings.task_specific
        self.committed += int((shares.max(axis=0, initial=0.0) > settings.committed).sum())
        self.owners += np.bincount(shares.argmax(axis=0)[specific], minlength=self.num_tasks)
        within = np.clip(entropy[~specific], self.edges[0], self.edges[-1])
        self.shared += np.histogram(within, self.edges)[0]

    def result(self, tasks: list[str]) -> Entropy:
        settings = self.settings
        return {
            "distribution": settings.distribution,
            "tau": settings.tau if settings.distribution == "softmax" else None,
            "bins": [round(float(e), 4) for e in self.edges],
            "unit": "nats",
            "counts": self.shared.tolist(),
            "unused": self.unused,
            "not_activated": self.idle,
            "task_specific": int(self.owners.sum()),
            "task_specific_by_task": dict(zip(tasks, self.owners.tolist(), strict=True)),
            "committed": self.committed,
            "parameters": self.parameters,
            "thresholds": {
                "task_specific": settings.task_specific,
                "not_activated": settings.not_activated,
                "committed": settings.committed,
            },
        }
