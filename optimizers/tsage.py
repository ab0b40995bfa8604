"""T-SAGE: each parameter follows the tasks that are sensitive to it."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from mtbench.errors import ConfigError
from mtbench.hyperparameters import hyper
from mtbench.optim.contract import reset_field
from mtbench.optim.medians import Median, exact_median, fast_median, sampled_median, sensitivity
from mtbench.optim.streaming import Averaging, RunningSoftmax, fused_pass, softmax_statistics, spans
from mtbench.optim.weighting import GradientCombining

_DTYPES = {n: getattr(torch, n) for n in ("float64", "float32", "float16", "bfloat16")}


class TSage(GradientCombining):
    """Task-sensitivity-guided gradients, Zhang et al., TACL 2023, Algorithm 1 (TACO-DR, Algorithm 1).

    For each task k and every parameter, with theta before the update:

        I'_k = |theta * g_k| / m_k      sensitivity (Eq. 9 of TACO-DR), m_k its lower median over all parameters
        I_k <- beta I_k + (1 - beta) I'_k,  I_k = 0 at first, not bias corrected
        U    = softmax over tasks of I_k / tau
        u    = sum_k U_k * g_k          (the mean of the g_k during the burn-in)

    A median of 0 (more than half the sensitivities are 0) is replaced by the median over the others. A task that a
    step misses stays out of the softmax, its I unchanged. A gradient, or a sensitivity, that is not finite makes the
    step not count: no I changes, except that in ``stream`` the tasks that came earlier in that step keep their new,
    sound I. ``compat="taco"`` divides by K once more after the burn-in, as the authors' code does.

    Implementations, equal up to rounding: ``dense`` is the formulas on K x d blocks; ``fused`` keeps the K gradients
    and makes one pass over all numbers; ``stream`` keeps no gradient: I and three vectors of scratch.
    """

    name = "tsage"
    summary = "each parameter follows the tasks that are sensitive to it"
    paper = "Zhang et al., Improving Multitask Retrieval by Promoting Task Specialization, TACL 2023"
    state = ("sensitivities", "updates")
    shardable = True

    tau: float = hyper(2.0, nonzero=True, help="softmax temperature; negative: discourage specialization")
    beta: float = hyper(0.999, ge=0, lt=1, help="decay of the averaged sensitivities")
    burn_in: float = hyper(0.1, ge=0, lt=1, help="share of the steps that average sensitivities but update by the mean")
    median_over: Literal["all", "nonzero"] = hyper("all", help="the entries whose median normalises a task")
    bias_correction: bool = hyper(False, help="divide the average by 1 - beta^n (not in the paper)")
    tau_schedule: Literal["constant", "halving"] = hyper("constant", help="halving: 64 * 0.5^episode, with tau's sign")
    implementation: Literal["auto", "fused", "stream", "dense"] = hyper("auto", help="equal results; speed and memory")
    state_dtype: Literal["auto", "float64", "float32", "float16", "bfloat16"] = hyper(
        "auto", help="of the averages; auto: that of the gradients; 16 bits are rounded stochastically"
    )
    median: Literal["exact", "sampled"] = hyper("exact", help="sampled: over a million coordinates, about 0.1 % off")
    compat: Literal["none", "taco"] = hyper("none", help="taco: divide by K once more, as the authors' code does")
    reset_on_episode: bool = reset_field()

    # -- state -------------------------------------------------------------------------------------------------

    def init_state(self) -> None:
        dtype = self.theta.dtype if self.state_dtype == "auto" else _DTYPES[self.state_dtype]
        self.sensitivities = [torch.zeros_like(self.theta, dtype=dtype) for _ in range(self.num_tasks)]
        self.updates = [0] * self.num_tasks

    def begin_episode(self) -> None:
        sizes = {i.numel() for i in self.sensitivities}
        if len(self.sensitivities) != self.num_tasks or sizes != {self.theta.numel()}:
            raise ConfigError("tsage: the state carried over belongs to other tasks or another model")
        halving = self.tau_schedule == "halving"
        self._tau = math.copysign(64 * 0.5**self.episode, self.tau) if halving else self.tau
        self._burn_in_steps = int(self.burn_in * self.total_steps)
        self._form = self._choose_form() if self.implementation == "auto" else self.implementation
        self._coordinates = int(self.reduce_sum(torch.tensor(self.theta.numel(), device=self.theta.device)))
        # the largest average for which neither it, nor what the softmax sees of it, overflows
        wide = torch.finfo(torch.promote_types(self.theta.dtype, torch.float32)).max
        limit = wide / 4 * min(1.0, abs(self._tau)) * (1 - self.beta)
        self._averaging = Averaging(self.beta, min(limit, torch.finfo(self.sensitivities[0].dtype).max))
        self._softmax = RunningSoftmax(self.theta) if self._form == "stream" else None
        self._unread: list[int] = []

    def _choose_form(self) -> Literal["fused", "stream"]:
        """Fused where gradients and averages of all tasks take at most half of the memory that the machine has.

        Decided by the memory there is, not by what is free now, so that a resumed run decides the same.
        """
        block = self.num_tasks * self.theta.numel() * self.theta.element_size()
        return "fused" if 2 * block <= memory_size(self.theta.device) / 2 else "stream"

    # -- one step ----------------------------------------------------------------------------------------------

    def open_step(self, losses: Sequence[float] | None) -> None:
        super().open_step(losses)
        self._medians: dict[int, Median] = {}
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
            self._medians = {k: self._median_of(self.row(k)) for k in sorted(self.present)}
        return [torch.where(m.bad > 0, torch.nan, 0.0) for m in self._medians.values()]

    def write_update(self, out: Tensor) -> None:
        self.tasks = sorted(self.present)
        if self._softmax is not None:
            self._softmax.write(out)
        else:
            for k in self.tasks:
                self.updates[k] += 1
            write = self._dense if self._form == "dense" else self._fused
            write(out)
        if self.compat == "taco" and not self._burning_in:
            out.div_(len(self.tasks))
        self._unread = self.tasks

    def _dense(self, out: Tensor) -> None:
        """Algorithm 1 as it is written."""
        G = torch.stack([self.row(k) for k in self.tasks])
        I = []  # noqa: E741
        for k, g_k in zip(self.tasks, G, strict=True):
            sensitivity_k = (self.theta * g_k).abs()
            I.append(
                self._averaging.update(self.sensitivities[k], sensitivity_k, self._medians[k].divisor, self._noise(k))
            )
        logits = torch.stack([I_k / self._temperature(k) for k, I_k in zip(self.tasks, I, strict=True)])
        U = torch.softmax(logits, dim=0)
        out.copy_(G.mean(0) if self._burning_in else (U * G).sum(0))

    def _fused(self, out: Tensor) -> None:
        """All tasks in one pass over the coordinates."""
        fused_pass(
            self.theta,
            [self.row(k) for k in self.tasks],
            [self.sensitivities[k] for k in self.tasks],
            [self._medians[k].divisor for k in self.tasks],
            [self._temperature(k) for k in self.tasks],
            self._averaging,
            [self._noise(k) for k in self.tasks],
            out,
            mean=self._burning_in,
        )

    def _stream(self, k: int, gradient: Tensor, softmax: RunningSoftmax) -> None:
        """One task: its average moves, and its share joins the running softmax."""
        broken = any(m.bad for m in self._medians.values()) or not math.isfinite(self.losses[k])
        median = self._medians[k] = self._median_of(gradient)
        if broken or median.bad:
            return
        self.updates[k] += 1
        noise = self._noise(k)
        for start, stop in spans(gradient):
            fresh = sensitivity(self.theta, gradient, start, stop)
            new = self._averaging.update(self.sensitivities[k][start:stop], fresh, median.divisor, noise)
            if self._burning_in:
                softmax.add_equally(start, stop, gradient[start:stop])
            else:
                softmax.add(start, stop, new / self._temperature(k), gradient[start:stop])

    def _median_of(self, gradient: Tensor) -> Median:
        nonzero = self.median_over == "nonzero"
        sharded = self._coordinates != self.theta.numel()
        if self.median == "sampled":
            reduce_sum = self.reduce_sum if sharded else None
            return sampled_median(self.theta, gradient, nonzero=nonzero, reduce_sum=reduce_sum)
        if not sharded:
            return fast_median(self.theta, gradient, nonzero=nonzero)
        return exact_median(self.theta, gradient, nonzero=nonzero, reduce_sum=self.reduce_sum, total=self._coordinates)

    def _temperature(self, k: int) -> float:
        """What task k's average is divided by in the softmax: tau, and 1 - beta^n with bias correction."""
        return self._tau * (1 - self.beta ** self.updates[k] if self.bias_correction else 1.0)

    def _noise(self, k: int) -> torch.Generator | None:
        """The random numbers that round task k's average in this step, if it is kept in 16 bits."""
        if self.sensitivities[k].element_size() > 2:
            return None
        seed = np.random.SeedSequence([self.seed, self.episode, self.step_index, k]).generate_state(1)
        return torch.Generator(self.theta.device).manual_seed(int(seed[0]))

    # -- report ------------------------------------------------------------------------------------------------

    def report(self) -> dict[str, Any]:
        """Numbers of the last step that counted: ``weights`` (means of U_k over the coordinates), ``medians``,
        ``zero_medians`` (tasks whose median was 0), ``commitment`` (share of coordinates with a U_k > 0.95), ``tau``.

        The means are one more pass over the averages, made when asked for. With sharded coordinates ask on all ranks.
        """
        self._require_started()
        if self._unread:
            self._read()
            self._unread = []
        return super().report()

    def counts(self) -> dict[str, int]:
        return {"zero_medians": sum(bool(m.is_zero) for m in self._medians.values())}

    def _read(self) -> None:
        tasks = self._unread
        weights, committed = [1.0 / len(tasks)] * len(tasks), 0.0
        if not self._burning_in:
            temperatures = [self._temperature(k) for k in tasks]
            sums, count = softmax_statistics([self.sensitivities[k] for k in tasks], temperatures)
            weights = (self.reduce_sum(sums) / self._coordinates).tolist()
            committed = float(self.reduce_sum(count)) / self._coordinates
        medians = {k: float(self._medians[k].value) for k in tasks}
        self.set_report(
            weights,
            medians=[medians.get(k, 0.0) for k in range(self.num_tasks)],
            **self.counts(),
            commitment=committed,
            tau=self._tau,
        )


def memory_size(device: torch.device) -> int:
    """Bytes of memory that this process may use on ``device`` (a container's limit counts)."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.is_file() else "max"
    return min(size, int(text)) if text.isdigit() else size
