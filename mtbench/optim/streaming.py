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
from mtbench.optim.compiled import Factors, attempt, fused_update, reciprocals
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

    The limit keeps a softmax of the averages from overflowing.
    """

    beta: float
    limit: float

    def update(self, average: Tensor, value: Tensor, divisor: Tensor) -> Tensor:
        """Update a chunk of the ``average`` in place from sensitivities ``value`` (overwritten), and return it."""
        fresh = value.div_(divisor).mul_(1 - self.beta)
        return average.mul_(self.beta).add_(fresh).clamp_(max=self.limit)


def fused_pass(
    theta: Tensor,
    gradients: Sequence[Tensor],
    averages: Sequence[Tensor],
    divisors: Sequence[Tensor],
    temperatures: Sequence[float] | None,
    averaging: Averaging,
    out: Tensor,
) -> None:
    """Move the ``averages`` and write sum_k softmax_k(I_k / temperature_k) * g_k into ``out``, in one pass.

    All sequences have one entry per task; ``divisors`` are 0-dimensional tensors. Without ``temperatures``: the mean of
    the gradients instead. The traffic is one read of each gradient, of theta and of each average, and one write of
    each average and of ``out``: everything else stays in a chunk.
    """
    if all(v.dtype == torch.float32 for v in (*averages, *gradients)):
        sharpness = None if temperatures is None else 1 / theta.new_tensor(temperatures)
        lifts, scales = reciprocals(torch.stack(list(divisors)))
        beta, limit = theta.new_tensor([averaging.beta, averaging.limit])
        factors = Factors(lifts, scales * (1 - averaging.beta), sharpness, beta, limit)
        if attempt(fused_update, theta.numel(), theta, list(gradients), list(averages), factors, out):
            return
    for start, stop in spans(theta):
        logits = []
        for k, gradient in enumerate(gradients):
            value = sensitivity(theta, gradient, start, stop)
            new = averaging.update(averages[k][start:stop], value, divisors[k])
            if temperatures is not None:
                logits.append(new / temperatures[k])
        if temperatures is None:
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
    for start, stop in spans(averages[0]):
        logits = [a[start:stop] / t for a, t in zip(averages, temperatures, strict=True)]
        shares = torch.softmax(torch.stack(logits), dim=0)
        sums += shares.sum(1, dtype=torch.float64)
        committed += (shares.amax(0) > 0.95).sum()
    return sums, committed
