"""Which parameters belong to which task: sensitivities |theta * g_k| of a trained encoder, and what follows from them.

Zhang et al., "Improving Multitask Retrieval by Promoting Task Specialization" (TACL 2023), section 5: Figure 2 (density
of sensitivities by task) and Figures 1 and 3a (histogram of the entropy over tasks, with the bins *not activated* and
*task specific*). The K x d table is kept on disk and read in column chunks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mtbench.records.curves import Analysis, Entropy, Sensitivity

CHUNK = 1 << 20
SPECIFIC_BELOW = 0.3
"""Entropy in nats under which a parameter counts as task specific."""
NOT_ACTIVATED_BELOW = 0.1
"""Median-normalised sensitivity under which a parameter is not activated by any task (the ICLR submission's value)."""
COMMITTED_ABOVE = 0.95
"""Share of one task in a parameter's sensitivity from which it counts as committed to it."""


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

    def normalise(self) -> list[float]:
        """Divide each row by its median (that of the non-zero entries where the median is 0); the medians."""
        medians = []
        for row in self._rows:
            median = float(np.quantile(row, 0.5, method="lower"))
            if median == 0 and (row > 0).any():
                median = float(np.quantile(row[row > 0], 0.5, method="lower"))
            if median > 0:
                for start in range(0, self.size, CHUNK):
                    row[start : start + CHUNK] /= median
            medians.append(median)
        return medians

    def analyse(self, tasks: list[str], *, bins: int = 60, thresholds: Thresholds | None = None) -> Analysis:
        """Density of log10 sensitivity by task, histogram of the entropy over tasks, and the share of each kind."""
        densities = _Densities(self.num_tasks, bins)
        kinds = _Kinds(self.num_tasks, thresholds or Thresholds())
        for start in range(0, self.size, CHUNK):
            block = np.asarray(self._rows[:, start : start + CHUNK], dtype=np.float64)
            densities.add(block)
            kinds.add(block)
        return {
            "sensitivity": densities.found(tasks),
            "entropy": kinds.found(tasks),
            "committed_share": kinds.committed / max(1, self.size),
        }

    def close(self) -> None:
        """Delete the file."""
        del self._rows
        self.path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Thresholds:
    """Where the special bins begin; the papers differ (not activated: 0.1 normalised, or 1e-8 raw)."""

    task_specific: float = SPECIFIC_BELOW
    not_activated: float = NOT_ACTIVATED_BELOW
    committed: float = COMMITTED_ABOVE


class _Densities:
    """How often each task's sensitivities fall into ``bins`` of their logarithm, from 10^-4 to 10^4."""

    def __init__(self, num_tasks: int, bins: int) -> None:
        self.edges = np.linspace(-4.0, 4.0, bins + 1)
        self.counts = np.zeros((num_tasks, bins), dtype=np.int64)

    def add(self, block: np.ndarray) -> None:
        """Count the sensitivities ``block`` (K, n) that are not 0."""
        for k, row in enumerate(block):
            logs = np.log10(row[row > 0])
            self.counts[k] += np.histogram(np.clip(logs, -4.0, 4.0), self.edges)[0]

    def found(self, tasks: list[str]) -> Sensitivity:
        centres = (self.edges[:-1] + self.edges[1:]) / 2
        width = self.edges[1] - self.edges[0]
        totals = np.maximum(self.counts.sum(axis=1), 1)
        return {
            "tasks": tasks,
            "bins": [round(float(c), 4) for c in centres],
            "unit": "log10 of median-normalised |theta * g|",
            "density": {
                t: [round(float(v), 6) for v in self.counts[k] / totals[k] / width] for k, t in enumerate(tasks)
            },
        }


class _Kinds:
    """Parameters by kind: not activated by any task, specific to one, or shared, with the entropy over tasks."""

    def __init__(self, num_tasks: int, limits: Thresholds) -> None:
        self.num_tasks, self.limits = num_tasks, limits
        self.edges = np.linspace(0.0, math.log(max(2, num_tasks)), 25)
        self.shared = np.zeros(len(self.edges) - 1, dtype=np.int64)
        self.owners = np.zeros(num_tasks, dtype=np.int64)
        self.parameters = self.idle = self.specific = self.committed = 0

    def add(self, block: np.ndarray) -> None:
        """Count the parameters whose sensitivities are the columns of ``block`` (K, n)."""
        self.parameters += block.shape[1]
        active = block.max(axis=0) >= self.limits.not_activated
        self.idle += int((~active).sum())
        shares = block[:, active] / np.maximum(block[:, active].sum(axis=0), 1e-300)
        entropy = -(shares * np.log(np.maximum(shares, 1e-300))).sum(axis=0)
        specific = entropy < self.limits.task_specific
        self.specific += int(specific.sum())
        self.committed += int((shares.max(axis=0, initial=0.0) > self.limits.committed).sum())
        self.owners += np.bincount(shares.argmax(axis=0)[specific], minlength=self.num_tasks)
        self.shared += np.histogram(np.clip(entropy[~specific], 0.0, self.edges[-1]), self.edges)[0]

    def found(self, tasks: list[str]) -> Entropy:
        return {
            "bins": [round(float(e), 4) for e in self.edges],
            "unit": "nats",
            "counts": self.shared.tolist(),
            "not_activated": self.idle,
            "task_specific": self.specific,
            "task_specific_by_task": dict(zip(tasks, self.owners.tolist(), strict=True)),
            "parameters": self.parameters,
            "thresholds": {
                "task_specific": self.limits.task_specific,
                "not_activated": self.limits.not_activated,
                "committed": self.limits.committed,
            },
        }
