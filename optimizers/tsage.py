"""T-SAGE: each parameter follows the tasks that are sensitive to it."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from mtbench.errors import ConfigError
from mtbench.optim import GradientCombining, Report, hyper, reset_field
from mtbench.optim.means import mean_normaliser, no_normaliser
from mtbench.optim.medians import Normaliser, Over, exact_median, fast_median, sensitivity
from mtbench.optim.streaming import Averaging, RunningSoftmax, fused_pass, softmax_statistics, spans

_REMOVED = {
    "implementation": ("dense",),
    "median": ("sampled",),
    "state_dtype": ("float64", "float32", "float16", "bfloat16"),
}
"""Variants of earlier versions, which are still accepted and mean the default."""


class TSage(GradientCombining):
    """Task-sensitivity-guided gradients, Zhang et al., TACL 2023, Algorithm 1 (TACO-DR, Algorithm 1).

    For each task k and every parameter, with theta before the update:

        I'_k = |theta * g_k| / m_k      sensitivity (Eq. 9 of TACO-DR), m_k its lower median over all parameters
                                        (``normalize="mean"``: its mean; ``"none"``: 1)
        I_k <- beta I_k + (1 - beta) I'_k,  I_k = 0 at first, not bias corrected
        U    = softmax over tasks of I_k / tau
        u    = sum_k U_k * g_k          (the mean of the g_k during the burn-in)

    Parameters that a batch does not touch (words that it has not, say) have sensitivity 0, and with nearly half of
    them the median is the smallest of all others: every sensitivity is huge then. Therefore, other than in the paper,
    above one quarter of zeros the median moves up among the others, to the median over them alone at one half
    (``mtbench.optim.medians``); ``median_over="nonzero"`` takes that one always. The report counts the tasks of which
    it was so. The EMA is not corrected for its beginning, so what acts is the temperature tau / (1 - beta^n) after n
    updates, which falls to tau in about 1 / (1 - beta) steps; the report has it. A task that a
    step misses stays out of the softmax, its I unchanged. A gradient, or a sensitivity, that is not finite makes the
    step not count: no I changes, except that in ``stream`` the tasks that came earlier in that step keep their new,
    sound I. ``compat="taco"`` divides by K once more after the burn-in, as the authors' code does.

    Implementations, equal up to rounding: ``fused`` keeps the K gradients and makes one pass over all numbers;
    ``stream`` keeps no gradient, only I and three vectors of scratch, and takes two to three times as long.
    """

    name = "tsage"
    summary = "each parameter follows the tasks that are sensitive to it"
    paper = "Zhang et al., Improving Multitask Retrieval by Promoting Task Specialization, TACL 2023"
    version = 2
    state = ("sensitivities", "updates")
    shardable = True

    tau: float = hyper(
        2.0, nonzero=True, search=(0.25, 8, "log"), help="softmax temperature; negative: discourage specialization"
    )
    beta: float = hyper(0.999, ge=0, lt=1, search=[0.9, 0.95, 0.986, 0.999], help="decay of the averaged sensitivities")
    burn_in: float = hyper(0.1, ge=0, lt=1, help="share of the steps that average sensitivities but update by the mean")
    median_over: Literal["all", "nonzero"] = hyper(
        "all", help="the entries whose median (or mean) normalises a task; all: guarded above a quarter of zeros"
    )
    normalize: Literal["median", "mean", "none"] = hyper(
        "median", since=2, help="what a task's sensitivities are divided by (not in the paper: mean, none)"
    )
    bias_correction: bool = hyper(False, help="divide the average by 1 - beta^n (not in the paper)")
    tau_schedule: Literal["constant", "halving"] = hyper(
        "constant", help="halving: 64 * 0.5^j with tau's sign, j = 0 in the first episode in which the method acts"
    )
    implementation: Literal["auto", "fused", "stream", "dense"] = hyper(
        "auto", help="equal results; fused: fast, stream: less memory, auto: fused where it fits (dense: as auto)"
    )
    state_dtype: Literal["auto", "float64", "float32", "float16", "bfloat16"] = hyper(
        "auto", help="of the averages: that of the parameters (the others: as auto)"
    )
    median: Literal["exact", "sampled"] = hyper(
        "exact", help="the sensitivities' medians are exact (sampled: as exact)"
    )
    compat: Literal["none", "taco"] = hyper("none", help="taco: divide by K once more, as the authors' code does")
    reset_on_episode: bool = reset_field()

    def __post_init__(self) -> None:
        super().__post_init__()
        for field, values in _REMOVED.items():
            if getattr(self, field) in values:
                given = f"{field}={getattr(self, field)}"
                warnings.warn(
                    f"tsage: {given} is no longer a variant of its own: the default is used", FutureWarning, 2
                )

    def version_used(self) -> int:
        """2 with ``halving``, which counted episodes from the warm-up until November 2026. The guard of the median came
        then too, without a new version: no run that had been published had a task between a quarter and a half zeros.
        """
        return 2 if self.tau_schedule == "halving" else 1

    def was_otherwise(self, report: Report) -> bool:
        """Of before the guard, with a task that had half of its entries other than 0: it may have needed the guard."""
        unguarded = self.median_over == "all" and "medians" in report and "guarded_medians" not in report
        return unguarded and report.get("zero_medians", 0) < len(report["medians"])

    # -- state -------------------------------------------------------------------------------------------------

    def init_state(self) -> None:
        self.sensitivities = [torch.zeros_like(self.theta, dtype=self._dtype) for _ in range(self.num_tasks)]
        self.updates = [0] * self.num_tasks

    @property
    def _dtype(self) -> torch.dtype:
        return torch.promote_types(self.theta.dtype, torch.float32)

    def _place_state(self) -> None:
        super()._place_state()
        self.sensitivities = [i.to(self._dtype) for i in self.sensitivities]  # earlier versions could keep 16 bits

    def begin_episode(self) -> None:
        sizes = {i.numel() for i in self.sensitivities}
        if len(self.sensitivities) != self.num_tasks or sizes != {self.theta.numel()}:
            raise ConfigError("tsage: the state carried over belongs to other tasks or another model")
        halving = self.tau_schedule == "halving"
        acting = self.episode - self.first_episode
        self._tau = math.copysign(64 * 0.5**acting, self.tau) if halving else self.tau
        self._burn_in_steps = int(self.burn_in * self.total_steps)
        self._form = self.implementation if self.implementation in ("fused", "stream") else self._choose_form()
        self._coordinates = int(self.reduce_sum(torch.tensor(self.theta.numel(), device=self.theta.device)))
        # the largest average for which neither it, nor what the softmax sees of it, overflows
        limit = torch.finfo(self._dtype).max / 4 * min(1.0, abs(self._tau)) * (1 - self.beta)
        self._averaging = Averaging(self.beta, limit)
        self._softmax = RunningSoftmax(self.theta) if self._form == "stream" else None
        self._unread: list[int] = []
        self._normalisers: dict[int, Normaliser] = {}

    def _choose_form(self) -> Literal["fused", "stream"]:
        """Fused where gradients and averages of all tasks take at most half of the memory that the machine has.

        Decided by the memory there is, not by what is free now, so that a resumed run decides the same.
        """
        block = self.num_tasks * self.theta.numel() * self.theta.element_size()
        return "fused" if 2 * block <= memory_size(self.theta.device) / 2 else "stream"

    # -- one step ----------------------------------------------------------------------------------------------

    def open_step(self, losses: Sequence[float] | None) -> None:
        super().open_step(losses)
        self._normalisers = {}
        self._unread = []
        self._burning_in = self.step_index < self._burn_in_steps
        if self._softmax is not None:
            self._softmax.clear()

    def watch(self, gradient: Tensor) -> None:
        """The medians see whatever is not finite: no pass of its own."""

    def add_task(self, k: int, gradient: Tensor) -> None:
        if self._softmax is None:
            super().add_task(k, gradient)
        else:
            self._stream(k, gradient, self._softmax)

    def probes(self) -> list[Tensor]:
        if self._form != "stream":
            self._normalisers = {k: self._normaliser_of(self.row(k)) for k in sorted(self.present)}
        return [torch.where(m.bad > 0, torch.nan, 0.0) for m in self._normalisers.values()]

    def write_update(self, out: Tensor) -> None:
        self.tasks = sorted(self.present)
        if self._softmax is not None:
            self._softmax.write(out)
        else:
            self._fused(out)
        if self.compat == "taco" and not self._burning_in:
            out.div_(len(self.tasks))
        self._unread = self.tasks

    def _fused(self, out: Tensor) -> None:
        """All tasks in one pass over the coordinates."""
        for k in self.tasks:
            self.updates[k] += 1
        fused_pass(
            self.theta,
            [self.row(k) for k in self.tasks],
            [self.sensitivities[k] for k in self.tasks],
            [self._normalisers[k].divisor for k in self.tasks],
            None if self._burning_in else [self._temperature(k) for k in self.tasks],
            self._averaging,
            out,
        )

    def _stream(self, k: int, gradient: Tensor, softmax: RunningSoftmax) -> None:
        """One task: its average moves, and its share joins the running softmax."""
        broken = any(m.bad for m in self._normalisers.values()) or not math.isfinite(self.losses[k])
        normaliser = self._normalisers[k] = self._normaliser_of(gradient)
        if broken or normaliser.bad:
            return
        self.updates[k] += 1
        for start, stop in spans(gradient):
            fresh = sensitivity(self.theta, gradient, start, stop)
            new = self._averaging.update(self.sensitivities[k][start:stop], fresh, normaliser.divisor)
            if self._burning_in:
                softmax.add_equally(start, stop, gradient[start:stop])
            else:
                softmax.add(start, stop, new / self._temperature(k), gradient[start:stop])

    def _normaliser_of(self, gradient: Tensor) -> Normaliser:
        nonzero, reduce_sum, total = self.median_over == "nonzero", self.reduce_sum, self._coordinates
        if self.normalize == "none":
            return no_normaliser(self.theta, gradient, reduce_sum=reduce_sum)
        if self.normalize == "mean":
            return mean_normaliser(self.theta, gradient, nonzero=nonzero, reduce_sum=reduce_sum, total=total)
        over: Over = "nonzero" if nonzero else "guarded"
        if total == self.theta.numel():
            return fast_median(self.theta, gradient, over=over)
        return exact_median(self.theta, gradient, over=over, reduce_sum=reduce_sum, total=total)

    def _temperature(self, k: int) -> float:
        """What task k's average is divided by in the softmax: tau, and 1 - beta^n with bias correction."""
        return self._tau * (1 - self.beta ** self.updates[k] if self.bias_correction else 1.0)

    # -- report ------------------------------------------------------------------------------------------------

    def report(self) -> Report:
        """Numbers of the last step that counted: ``weights`` (means of U_k over the coordinates), ``medians`` (what
        the tasks' sensitivities were divided by, whatever ``normalize`` is), ``zero_medians`` (tasks whose plain
        median was 0), ``guarded_medians`` (tasks with more than a quarter of zeros, where the guard took another),
        ``committed_share`` (of coordinates with a U_k > 0.95), ``tau``, and ``temperature``: tau / (1 - beta^n) after
        the n updates of the task that has most, or tau with bias correction.

        The means are one more pass over the averages, made when asked for. With sharded coordinates ask on all ranks.
        """
        self._require_started()
        if self._unread:
            self._read()
            self._unread = []
        return super().report()

    def importances(self) -> Sequence[Tensor]:
        return self.sensitivities

    def counts(self) -> dict[str, int]:
        found = self._normalisers.values()
        return {
            "zero_medians": sum(bool(m.is_zero) for m in found),
            "guarded_medians": sum(bool(m.guarded) for m in found),
        }

    def _read(self) -> None:
        tasks = self._unread
        weights, committed = [1.0 / len(tasks)] * len(tasks), 0.0
        if not self._burning_in:
            temperatures = [self._temperature(k) for k in tasks]
            sums, count = softmax_statistics([self.sensitivities[k] for k in tasks], temperatures)
            weights = (self.reduce_sum(sums) / self._coordinates).tolist()
            committed = float(self.reduce_sum(count)) / self._coordinates
        medians = {k: float(self._normalisers[k].value) for k in tasks}
        self.set_report(
            weights,
            medians=[medians.get(k, 0.0) for k in range(self.num_tasks)],
            **self.counts(),
            committed_share=committed,
            tau=self._tau,
            temperature=self._tau if self.bias_correction else self._tau / (1 - self.beta ** max(self.updates)),
        )


def memory_size(device: torch.device) -> int:
    """Bytes of memory that this process may use on ``device`` (a container's limit counts)."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.is_file() else "max"
    return min(size, int(text)) if text.isdigit() else size
