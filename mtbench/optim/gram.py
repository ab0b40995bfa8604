"""Inner products of task gradients, in float64, scaled so that no threshold is absolute."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from mtbench.optim.chunks import chunk_size
from mtbench.optim.contract import Reduce
from mtbench.optim.hooks import extremes

CHUNK = 1 << 14
"""Columns per chunk of the Gram matrix: a chunk of K rows in float64 stays in the processor's cache."""

Spans: TypeAlias = Sequence[tuple[int, int]]
"""First and last coordinate (exclusive) of pieces of a vector."""


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor


def gram_matrix(
    rows: Tensor, reduce_sum: Reduce = _as_it_is, reduce_max: Reduce = _as_it_is
) -> tuple[np.ndarray, float]:
    """The Gram matrix of ``rows`` (n, d) in float64, scaled, and the scale: ``G @ G.T == gram * scale``.

    The scale is a power of four near the largest squared norm, so that neither 1e-20 nor 1e15 leaves the range and
    no threshold is absolute; it is 0 or infinite where squared norms leave the range of float64. Multiplied and
    accumulated in float64, chunk by chunk, in one read of the rows (two where that range is left); no temporary
    of the size of ``rows``. A diagonal entry is finite exactly if its row is.
    Of several ranks with a slice of the columns each, ``reduce_sum`` adds the partial matrices and ``reduce_max``
    finds the largest entry, so that all of them scale alike.
    """
    grams, scales = gram_matrices(rows, [[(0, rows.shape[1])]], reduce_sum, reduce_max)
    return grams[0], scales[0]


def gram_matrices(
    rows: Tensor, blocks: Sequence[Spans], reduce_sum: Reduce = _as_it_is, reduce_max: Reduce = _as_it_is
) -> tuple[list[np.ndarray], list[float]]:
    """:func:`gram_matrix` and scale of each block of coordinates; all blocks are reduced together.

    A block may be empty on this rank, not on all.
    """
    grams = list(reduce_sum(torch.stack([_products(rows, spans) for spans in blocks])).cpu().numpy())
    shifts = [1.0] * len(blocks)
    # squares of shorter floats never leave the range of float64; those of float64 may, and 0 may be an underflow
    if rows.dtype == torch.float64:
        squares = [np.diag(gram) for gram in grams]
        odd = [b for b, s in enumerate(squares) if not ((s > 1e-280) & (s < 1e280)).all()]
        for b, gram, shift in _shifted(rows, blocks, odd, reduce_sum, reduce_max) if odd else ():
            grams[b], shifts[b] = gram, shift
    scaled = [_scaled(gram, shift) for gram, shift in zip(grams, shifts, strict=True)]
    return [gram for gram, _ in scaled], [scale for _, scale in scaled]


def _shifted(
    rows: Tensor, blocks: Sequence[Spans], odd: Sequence[int], reduce_sum: Reduce, reduce_max: Reduce
) -> list[tuple[int, np.ndarray, float]]:
    """Number, Gram matrix and factor of the ``odd`` blocks, of rows times a factor that brings them into range."""
    own = torch.stack([_largest(rows, blocks[b]) for b in odd])
    largest = reduce_max(own).reshape(-1).cpu().numpy()
    usable = [(b, 2.0 ** -np.floor(np.log2(top))) for b, top in zip(odd, largest, strict=True) if 0 < top < np.inf]
    if not usable:
        return []
    grams = reduce_sum(torch.stack([_products(rows, blocks[b], shift) for b, shift in usable])).cpu().numpy()
    return [(b, gram, shift) for (b, shift), gram in zip(usable, grams, strict=True)]


def _largest(rows: Tensor, spans: Spans) -> Tensor:
    found = [extremes(row[a:b]).abs().max() for row in rows for a, b in spans]
    return torch.stack(found).max() if found else rows.new_zeros(())


def _scaled(gram: np.ndarray, shift: float) -> tuple[np.ndarray, float]:
    top = float(np.diag(gram).max()) if len(gram) else 0.0
    if not 0 < top < np.inf:
        return gram, 1.0
    scale = 4.0 ** np.floor(np.log2(top) / 2)
    with np.errstate(over="ignore", under="ignore"):
        return gram / scale, float(scale / shift / shift)


def _products(rows: Tensor, spans: Spans, factor: float = 1.0) -> Tensor:
    """The inner products (n, n) of the ``spans`` of ``rows`` (n, d), multiplied by ``factor`` before, in float64."""
    n = len(rows)
    total = torch.zeros(n, n, dtype=torch.float64, device=rows.device)
    widest = max((b - a for a, b in spans), default=0)
    size = chunk_size(rows.device, CHUNK)
    memory = torch.empty(n, min(size, widest), dtype=torch.float64, device=rows.device)
    for first, last in spans:
        for start in range(first, last, size):
            chunk = memory[:, : min(size, last - start)].copy_(rows[:, start : min(start + size, last)])
            if factor != 1.0:
                chunk.mul_(factor)
            total.addmm_(chunk, chunk.t())
    return total
