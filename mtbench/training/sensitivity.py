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

from mtbench.records.curves import Analysis

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
        limits = thresholds or Thresholds()
        log_edges = np.linspace(-4.0, 4.0, bins + 1)
        entropy_edges = np.linspace(0.0, math.log(max(2, self.num_tasks)), 25)
        density = np.zeros((self.num_tasks, bins), dtype=np.int64)
        counts = np.zeros(len(entropy_edges) - 1, dtype=np.int64)
        owners = np.zeros(self.num_tasks, dtype=np.int64)
        idle = specific = committed = 0
        for start in range(0, self.size, CHUNK):
            block = np.asarray(self._rows[:, start : start + CHUNK], dtype=np.float64)
            for k, row in enumerate(block):
                logs = np.log10(row[row > 0])
                density[k] += np.histogram(np.clip(logs, -4.0, 4.0), log_edges)[0]
            active = block.max(axis=0) >= limits.not_activated
            idle += int((~active).sum())
            shares = block[:, active] / np.maximum(block[:, active].sum(axis=0), 1e-300)
            entropy = -(shares * np.log(np.maximum(shares, 1e-300))).sum(axis=0)
            is_specific = entropy < limits.task_specific
            specific += int(is_specific.sum())
            committed += int((shares.max(axis=0, initial=0.0) > limits.committed).sum())
            owners += np.bincount(shares.argmax(axis=0)[is_specific], minlength=self.num_tasks)
            shared = np.clip(entropy[~is_specific], 0.0, entropy_edges[-1])
            counts += np.histogram(shared, entropy_edges)[0]
        centres = (log_edges[:-1] + log_edges[1:]) / 2
        width = log_edges[1] - log_edges[0]
        totals = np.maximum(density.sum(axis=1), 1)
        return {
            "sensitivity": {
                "tasks": tasks,
                "bins": [round(float(c), 4) for c in centres],
                "unit": "log10 of median-normalised |theta * g|",
                "density": {
                    t: [round(float(v), 6) for v in density[k] / totals[k] / width] for k, t in enumerate(tasks)
                },
            },
            "entropy": {
                "bins": [round(float(e), 4) for e in entropy_edges],
                "unit": "nats",
                "counts": counts.tolist(),
                "not_activated": idle,
                "task_specific": specific,
                "task_specific_by_task": dict(zip(tasks, owners.tolist(), strict=True)),
                "parameters": self.size,
                "thresholds": {
                    "task_specific": limits.task_specific,
                    "not_activated": limits.not_activated,
                    "committed": limits.committed,
                },
            },
            "committed_share": committed / max(1, self.size),
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
