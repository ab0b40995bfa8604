"""Chunked passes over K gradients and K running averages: the elementwise work of T-SAGE.

``Softmax over tasks of an average of normalised sensitivities`` in two orders of work: all tasks of a chunk at once
(:func:`fused_pass`), or one task after the other with a running maximum (:class:`RunningSoftmax`). Both read and
write chunk by chunk, so that what lies between two passes stays in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mtbench.optim.chunks import chunk_size
from mtbench.optim.compiled import attempt, fused_update, reciprocals
from mtbench.optim.medians import sensitivity

CHUNK = 1 << 15
"""Coordinates per chunk on a processor: eight tasks' worth of float32 stays in the cache."""


def spans(vector: Tensor) -> Iterator[tuple[int, int]]:
    """First and last coordinate (exclusive) of the chunks of ``vector`` (d,)."""
    size = chunk_size(vector.device, CHUNK)
    for start in range(0, vector.numel(), size):
        yield start, min(start + size, vector.numel())


@dataclass(frozen=True)
class Averaging:
    """How running averages are updated: I <- beta I + (1 - beta) |theta g| / divisor, at most ``limit``.

    The limit keeps a softmax of the averages from overflowing, and a 16-bit average from becoming infinite.
    """

    beta: float
    limit: float

    def update(self, average: Tensor, value: Tensor, divisor: Tensor, noise: torch.Generator | None) -> Tensor:
        """Update a chunk of the stored ``average`` in place from sensitivities ``value`` (overwritten).

        Returns the new average in the precision of the computation, which stochastic rounding then stores.
        """
        wide = torch.promote_types(average.dtype, value.dtype)
        fresh = value.to(wide).div_(divisor).mul_(1 - self.beta)
        if average.dtype == wide:
            return average.mul_(self.beta).add_(fresh).clamp_(max=self.limit)
        fresh = fresh.add_(average.to(fresh.dtype), alpha=self.beta).clamp_(max=self.limit)
        average.copy_(fresh if noise is None else stochastic_round(fresh, average.dtype, noise))
        return fresh


def stochastic_round(values: Tensor, dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    """Round ``values`` >= 0 to a 16-bit float type, up or down at random so that the mean is kept.

    Rounding to nearest would freeze a slow average: at beta = 0.999 one step of decay is less than half a unit in
    the last place of bfloat16, so the average would only ever go up.
    """
    nearest = values.to(dtype)
    error = values - nearest.to(values.dtype)
    # for numbers >= 0 the neighbours have neighbouring bits
    other = (nearest.view(torch.int16) + error.sign().to(torch.int16)).view(dtype)
    gap = (other.to(values.dtype) - nearest.to(values.dtype)).abs()
    chance = torch.rand(values.shape, dtype=values.dtype, device=values.device, generator=generator)
    return torch.where(chance * gap < error.abs(), other, nearest)


def fused_pass(
    theta: Tensor,
    gradients: Sequence[Tensor],
    averages: Sequence[Tensor],
    divisors: Sequence[Tensor],
    temperatures: Sequence[float],
    averaging: Averaging,
    noises: Sequence[torch.Generator | None],
    out: Tensor,
    mean: bool = False,
) -> None:
    """Update the averages and write sum_k softmax_k(I_k / temperature_k) * g_k, or the ``mean``, into ``out``.

    ``theta``, ``out``, each gradient and each average: (d,). One pass: every number is read and written once.
    """
    invertible = mean or min(map(abs, temperatures)) > 4 * torch.finfo(theta.dtype).tiny
    if invertible and all(t.dtype == theta.dtype for t in (*averages, *gradients)):
        sharpness = None if mean else 1 / torch.tensor(temperatures, dtype=theta.dtype, device=theta.device)
        lifts, scales = reciprocals(torch.stack(list(divisors)))
        # as tensors: every value of a Python number would be compiled for itself
        beta, limit = torch.tensor([averaging.beta, averaging.limit], dtype=theta.dtype, device=theta.device)
        fixed = (lifts, scales * (1 - averaging.beta), sharpness, beta, limit)
        if attempt(fused_update, theta.numel(), theta, list(gradients), list(averages), *fixed, out):
            return
    for start, stop in spans(theta):
        logits = []
        for k, gradient in enumerate(gradients):
            value = sensitivity(theta, gradient, start, stop)
            new = averaging.update(averages[k][start:stop], value, divisors[k], noises[k])
            logits.append(new / temperatures[k])
        if mean:
            update = torch.add(gradients[0][start:stop], 0, out=out[start:stop])
            for gradient in gradients[1:]:
                update.add_(gradient[start:stop])
            update.div_(len(gradients))
        else:
            shares = torch.softmax(torch.stack(logits), dim=0).to(out.dtype)
            update = out[start:stop].zero_()
            for k, gradient in enumerate(gradients):
                update.addcmul_(shares[k], gradient[start:stop])


class RunningSoftmax:
    """sum_k softmax_k(z_k) * g_k for tasks that come one at a time: three vectors (d,), whatever the number of tasks.

    The running maximum is necessary: z of several thousand is common, and exp overflows at 88.
    """

    def __init__(self, like: Tensor) -> None:
        self.highest, self.denominator, self.numerator = (torch.empty_like(like) for _ in range(3))

    def clear(self) -> None:
        """Forget all tasks."""
        self.highest.fill_(-torch.inf)
        self.denominator.zero_()
        self.numerator.zero_()

    def add(self, start: int, stop: int, logits: Tensor, gradient: Tensor) -> None:
        """Add one task's ``logits`` and ``gradient`` at the coordinates ``start:stop``."""
        logits = logits.to(self.highest.dtype)
        highest, denominator = self.highest[start:stop], self.denominator[start:stop]
        numerator = self.numerator[start:stop]
        new = torch.maximum(highest, logits)
        shrink = highest.sub_(new).exp_()
        share = torch.sub(logits, new).exp_()
        denominator.mul_(shrink).add_(share)
        numerator.mul_(shrink).addcmul_(share, gradient)
        highest.copy_(new)

    def add_equally(self, start: int, stop: int, gradient: Tensor) -> None:
        """Add one task's ``gradient`` with the same share as every other task's."""
        self.numerator[start:stop].add_(gradient)
        self.denominator[start:stop].add_(1)

    def write(self, out: Tensor) -> None:
        """Write the result into ``out`` (d,)."""
        torch.div(self.numerator, self.denominator, out=out)


def softmax_statistics(averages: Sequence[Tensor], temperatures: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Sums over coordinates: the shares softmax_k(I_k / temperature_k) (K,), and how many exceed 0.95 (scalar)."""
    sums = torch.zeros(len(averages), dtype=torch.float64, device=averages[0].device)
    committed = torch.zeros((), dtype=torch.float64, device=averages[0].device)
    wide = torch.promote_types(averages[0].dtype, torch.float32)
    for start, stop in spans(averages[0]):
        logits = [a[start:stop].to(wide) / t for a, t in zip(averages, temperatures, strict=True)]
        shares = torch.softmax(torch.stack(logits), dim=0)
        sums += shares.sum(1, dtype=torch.float64)
        committed += (shares.amax(0) > 0.95).sum()
    return sums, committed
