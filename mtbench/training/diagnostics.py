"""What is written down while training: losses, norms, weights, cosines, time by phase."""

from __future__ import annotations

import hashlib
import itertools
import math
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

from mtbench.optim.gram import gram_matrix
from mtbench.records.curves import TrainingTotals
from mtbench.records.values import Report

DIGEST_STEPS = 100
"""Steps whose updates go into the digest by which two methods that do the same are noticed."""


@dataclass
class Phases:
    """Milliseconds by phase of the step; on a GPU only timed while ``exact`` synchronises."""

    device: torch.device
    totals: dict[str, list[float]] = field(default_factory=dict)
    current: dict[str, float] = field(default_factory=dict)
    exact: bool = True
    _inside: float = 0.0
    """What phases inside the present one took."""

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Times a phase, without the phases inside it."""
        start, outside, self._inside = self._now(), self._inside, 0.0
        yield
        spent = self._now() - start
        self.current[name] = self.current.get(name, 0.0) + 1000 * (spent - self._inside)
        self._inside = outside + spent

    def end_step(self) -> dict[str, float]:
        """Close the step; its milliseconds by phase."""
        done, self.current, self._inside = self.current, {}, 0.0
        if self.exact:
            for name, value in done.items():
                self.totals.setdefault(name, []).append(value)
        return {name: round(value, 3) for name, value in done.items()}

    def medians(self) -> dict[str, float]:
        """Median milliseconds by phase over the steps that were timed."""
        return {name: round(float(np.median(values)), 3) for name, values in self.totals.items()}

    def _now(self) -> float:
        if self.exact and self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


class LoggedStep(TypedDict, total=False):
    """What the journal has of one step; by task where it is a dictionary, None for what was not finite."""

    step: int
    lr: float
    losses: dict[str, float | None]
    gradient_norms: dict[str, float | None]
    weights: dict[str, float | None]
    norm_before_clip: float
    norm_after_clip: float
    clipped: bool
    step_difference: float | None
    """See :func:`mtbench.training.naive_step.step_difference`."""
    skipped: bool
    """No update was taken."""
    cosines: list[list[float]]
    conflict_rate: float
    commitment_rate: float
    """Of methods with :meth:`MultitaskOptimizer.importances`; see :mod:`mtbench.training.ownership`."""
    report: Report
    ms: dict[str, float]


class StageSummary(TrainingTotals):
    """What a stage of training says of itself; the record has it under its own names."""

    report: Report


@dataclass
class Journal:
    """The log of one training stage: one entry per logged step, and counts over all steps."""

    tasks: Sequence[str]
    entries: list[LoggedStep] = field(default_factory=list)
    steps: int = 0
    clipped: int = 0
    fallbacks: int = 0
    drawn_negatives: int = 0
    digest: str = ""

    def state(self) -> Mapping[str, object]:
        """For a checkpoint."""
        return {k: v for k, v in self.__dict__.items() if k != "tasks"}

    def restore(self, state: Mapping[str, object]) -> None:
        """From a checkpoint."""
        self.__dict__.update(state)

    def count(self, clipped: bool, counts: Mapping[str, int], drawn: int, norm: float) -> None:
        """One more step that was taken; ``norm`` of the combined gradient before clipping."""
        self.clipped += clipped
        self.fallbacks += counts.get("solver_fallbacks", 0)
        self.drawn_negatives += drawn
        if self.steps < DIGEST_STEPS:
            self.digest = hashlib.sha256((self.digest + float(norm).hex()).encode()).hexdigest()[:16]
        self.steps += 1

    @property
    def step_difference(self) -> float | None:
        """The mean over the logged steps that have one; None if none has."""
        known = [d for e in self.entries if (d := e.get("step_difference")) is not None]
        return float(f"{sum(known) / len(known):.6g}") if known else None


def what_to_do_about_it(episode: int, updates: int, finite: bool) -> str:
    """The end of a message about losses that are not finite after so many updates of this episode.

    ``finite``: whether the weights are. A learning rate is blamed only where one has changed them.
    """
    if updates:
        return "; lower train.lr or train.warmup_lr, or use precision fp32"
    began = "no update was taken before" if finite else "the weights that training began with are not finite"
    other = "lower the rates of the episodes before" if episode else "another encoder or a smaller train.logit_scale"
    return (
        f", from the first one on: {began}, so the rate of this stage is not the reason\n"
        f"  Use encoder.precision=fp32, or {other}."
    )


def cosines(
    rows: Tensor,
    reduce_sum: Callable[[Tensor], Tensor] = lambda t: t,
    reduce_max: Callable[[Tensor], Tensor] = lambda t: t,
) -> tuple[np.ndarray, float]:
    """Pairwise cosines ``(K, K)`` of task gradients ``(K, d)`` and the share of pairs with a negative one (conflicts).

    ``reduce_sum`` and ``reduce_max`` as in :func:`gram_matrix`, for rows of which each rank has a slice.
    """
    gram, _ = gram_matrix(rows, reduce_sum, reduce_max)
    norms = np.sqrt(np.diag(gram))
    safe = np.where(norms > 0, norms, 1.0)
    table = gram / np.outer(safe, safe)
    pairs = [table[i, j] for i, j in itertools.combinations(range(len(table)), 2)]
    return table, float(np.mean([p < 0 for p in pairs])) if pairs else 0.0


def named(names: Sequence[str], **values: list[float]) -> dict[str, dict[str, float | None]]:
    """Lists of one number per task as dicts by task, to six digits; None for what is not finite."""
    return {
        key: {n: float(f"{v:.6g}") if math.isfinite(v) else None for n, v in zip(names, row, strict=True)}
        for key, row in values.items()
        if row
    }


def forget_peak(device: torch.device) -> None:
    """Let :func:`peak_memory` count from here."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory(device: torch.device) -> int:
    """Bytes since :func:`forget_peak`: of the GPU where there is one, else this process's largest resident set.

    Where the system cannot forget, the largest since the process began.
    """
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmHWM:")))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
