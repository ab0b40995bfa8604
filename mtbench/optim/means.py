"""What the sensitivities |theta * gradient| may be divided by other than their median: their mean, or nothing."""

from __future__ import annotations

import torch
from torch import Tensor

from mtbench.optim.chunks import chunk_size
from mtbench.optim.medians import CHUNK, Normaliser, Reduce, sensitivity


def mean_normaliser(
    theta: Tensor,
    gradient: Tensor,
    *,
    nonzero: bool = False,
    reduce_sum: Reduce = lambda t: t,
    total: int | None = None,
) -> Normaliser:
    """The mean of |theta * gradient| over all entries, or over those that are not 0.

    Summed in float64, so that the order, and how the coordinates are sharded, leave the float32 mean as it is, but for
    a rounding now and then. ``reduce_sum`` and ``total`` as for :func:`mtbench.optim.medians.exact_median`.
    """
    sums, kind = _sums(theta, gradient)
    added, positive, bad = reduce_sum(sums)
    count = positive if nonzero else positive.new_tensor(theta.numel() if total is None else total)
    # a mean that is too small for its type is not the mean of nothing
    mean = (added / count.clamp(min=1)).to(kind).clamp(min=torch.finfo(kind).tiny)
    return _normaliser(torch.where(positive > 0, mean, 0), bad)


def no_normaliser(theta: Tensor, gradient: Tensor, *, reduce_sum: Reduce = lambda t: t) -> Normaliser:
    """One, and how many sensitivities are not finite."""
    sums, kind = _sums(theta, gradient)
    return _normaliser(torch.ones((), dtype=kind, device=gradient.device), reduce_sum(sums)[2])


def _normaliser(value: Tensor, bad: Tensor) -> Normaliser:
    no = torch.zeros((), dtype=torch.bool, device=value.device)
    return Normaliser(value, no, no, bad)


def _sums(theta: Tensor, gradient: Tensor) -> tuple[Tensor, torch.dtype]:
    """Of the sensitivities: their sum, how many are not 0, how many are not finite (3,) in float64; and their type."""
    size = chunk_size(theta.device, CHUNK)
    sums = torch.zeros(3, dtype=torch.float64, device=gradient.device)
    kind = torch.float32
    for start in range(0, theta.numel(), size):
        values = sensitivity(theta, gradient, start, start + size)
        kind = values.dtype
        sums[0] += values.sum(dtype=torch.float64)
        sums[1] += torch.count_nonzero(values)
        sums[2] += (~torch.isfinite(values)).sum()
    return sums, kind
