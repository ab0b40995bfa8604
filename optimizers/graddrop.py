"""Gradient sign dropout (GradDrop)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from mtbench.optim import Cost, MultitaskOptimizer, hyper, reset_field
from mtbench.optim.chunks import chunk_size
from mtbench.optim.gram import CHUNK

_GOLDEN, _FIRST, _SECOND = -7046029254386353131, -4658895280553007687, -7723592293110705685
"""The multipliers of splitmix64 (Steele, Lea & Flood, OOPSLA 2014) as signed 64-bit integers."""


class GradDrop(MultitaskOptimizer):
    """In every coordinate one sign is drawn, by how much of the gradients has it; the other sign's parts are dropped.

    Chen et al., "Just Pick a Sign: Optimizing Deep Multitask Models with Gradient Sign Dropout", NeurIPS 2020,
    Algorithm 1 with f the identity, on the parameters' gradients. With a_i the sum over tasks of the positive parts of
    coordinate i and b_i that of the negative parts' sizes,

        P_i = a_i / (a_i + b_i);   keep a_i if U_i < P_i, else -b_i;   u_i = (leak (a_i - b_i) + (1 - leak) kept_i) / K

    Two vectors are kept and no rows. U_i is a hash of (a seeded key, counted steps, i): a slice of the coordinates,
    another device or a resumed run draw the same. The paper drops where tasks meet in the activations, which inputs of
    their own per task do not have; nash-mtl's and torchjd's versions on parameters sum instead of averaging.
    """

    name = "graddrop"
    summary = "draws one sign per coordinate and drops the other"
    paper = "Chen et al., Just Pick a Sign: Gradient Sign Dropout, NeurIPS 2020"
    cost: ClassVar[Cost] = "elementwise"
    state = ("key", "steps")
    random = True
    shardable = True

    leak: float = hyper(
        0.0, ge=0, le=1, search=(0.0, 0.9, "linear"), help="share of the mean in the update; 1 is naive"
    )
    reset_on_episode: bool = reset_field()

    def init_state(self) -> None:
        self.key, self.steps = int(self.generator.integers(2**63)), 0

    def open_step(self, losses: Sequence[float] | None) -> None:
        self._positive: Tensor | None = None
        self._negative: Tensor | None = None

    def add_task(self, k: int, gradient: Tensor) -> None:
        if self._positive is None or self._negative is None:
            self._positive, self._negative = gradient.clamp(min=0), gradient.clamp(max=0).neg_()
            return
        size = chunk_size(gradient.device, CHUNK)  # no third vector for the parts
        for start in range(0, len(gradient), size):
            part = slice(start, start + size)
            self._positive[part] += gradient[part].clamp(min=0)
            self._negative[part] -= gradient[part].clamp(max=0)

    def write_update(self, out: Tensor) -> None:
        assert self._positive is not None and self._negative is not None, "a step that counts has at least one task"
        key = _mixed(torch.tensor([self.key, self.steps]))
        count = len(self.present)
        size = chunk_size(out.device, CHUNK)
        for start in range(0, len(out), size):
            a, b = self._positive[start : start + size], self._negative[start : start + size]
            keep = uniform_of(key, self.offset + start, len(a), a.device) * (a + b).double() < a.double()
            kept = torch.where(keep, a, -b)
            out[start : start + size] = (kept if self.leak == 0 else torch.lerp(kept, a - b, self.leak)) / count
        self.set_report([1.0 / count] * count)
        self.steps += 1
        self.discard_step()

    def discard_step(self) -> None:
        self._positive = self._negative = None


def uniform_of(key: int, start: int, count: int, device: torch.device) -> Tensor:
    """float64 (count,) in [0, 1): the draws of the coordinates ``start ..`` under ``key``, equal on every device."""
    x = torch.arange(start + 1, start + count + 1, device=device) * _GOLDEN + key
    x = (x ^ _shifted(x, 30)) * _FIRST
    x = (x ^ _shifted(x, 27)) * _SECOND
    return _shifted(x ^ _shifted(x, 31), 11).double() * 2.0**-53


def _shifted(x: Tensor, bits: int) -> Tensor:
    """Right shift of 64-bit patterns with zeros moving in, which signed integers lack."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mixed(numbers: Tensor) -> int:
    """One 64-bit key of several numbers."""
    key = torch.zeros((), dtype=torch.int64)
    for number in numbers:
        key = (key + number + 1) * _GOLDEN
        key = (key ^ _shifted(key, 32)) * _FIRST
        key = key ^ _shifted(key, 29)
    return int(key)
