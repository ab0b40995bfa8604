"""Lower medians of the sensitivities |theta * gradient|, without sorting and without storing them.

The exact median is a radix selection on the bits of the floats (for numbers >= 0 their order is the order of the
bits): one histogram for each 16 bits, so two passes in float32 and four in float64, each recomputing the
sensitivities chunk by chunk. Counting is in integers: the result is exact, deterministic and the same on every rank,
also where the coordinates are sharded, since only histograms and counts are summed over ranks.

Of a long unsharded vector, where a compiler is at hand, :func:`fast_median` finds the same number in one counting pass:
a sample brackets the median, the pass counts what lies below and marks where the bracket's few numbers stand, and those
are sorted out. If the counts say that the median is outside after all, the histograms do it.

With z of the entries 0, the median stands at the level (1/2 - z) / (1 - z) of the others, which falls to 0 at
z = 1/2: just before, it is the smallest entry that is not 0, and what is divided by it explodes. So it is guarded:
from z = 1/4, where the level is 1/3, up to z = 1/2 the level rises in a straight line to 1/2, and stays there. It is
continuous in z, below one quarter the plain median, from one half on the median over the entries that are not 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mtbench.optim.chunks import chunk_size
from mtbench.optim.compiled import BLOCK, attempt, block_counts

CHUNK = 1 << 20
"""Coordinates per chunk: large against the 65,536 bins that each chunk's histogram adds to the total."""
SAMPLES = 1 << 20
"""Coordinates that the bracket of :func:`fast_median` is made of."""
PIECE = 1_000_000
"""Coordinates that are counted at a time on a processor; a multiple of the block."""
GATHERED = 1 << 12
"""Blocks that are gathered at a time on a processor."""
_BINS = 1 << 16

Reduce = Callable[[Tensor], Tensor]
Over = Literal["all", "guarded", "nonzero"]
"""Which median: the plain one over all entries (where it is 0, that over the others), the guarded one, or always that
over the entries that are not 0."""


@dataclass(frozen=True)
class Normaliser:
    """What one task's sensitivities are divided by; 0-dimensional tensors on the device, so that nothing waits."""

    value: Tensor
    """Their median, say; 0 only if all entries are."""
    is_zero: Tensor
    """Whether the plain median over all entries was 0 (False where no median was asked for)."""
    guarded: Tensor
    """Whether the guard took another entry than the plain median: more than a quarter of all were 0."""
    bad: Tensor
    """How many sensitivities are NaN or infinite."""

    @property
    def divisor(self) -> Tensor:
        """The value, or infinity (so that 0 / divisor is 0) where all entries are 0."""
        return torch.where(self.value > 0, self.value, torch.inf)


class Rank(NamedTuple):
    """Which entry, in ascending order and counted from 0, is the median; 0-dimensional tensors."""

    place: Tensor
    is_zero: Tensor
    guarded: Tensor


def median_rank(zeros: Tensor, total: int, over: Over) -> Rank:
    """The rank of the median among ``total`` entries of which ``zeros`` (0-dimensional, int64) are 0."""
    positive = total - zeros
    is_zero = zeros > (total - 1) // 2
    middle = (positive - 1).clamp(min=0) // 2
    plain = (total - 1) // 2 - zeros
    share = zeros.double() / total
    risen = ((1 / 6 + 2 / 3 * share) * positive).long()
    guarded = (share > 0.25) & (over == "guarded")
    among = torch.where(guarded, torch.minimum(torch.maximum(risen, plain), middle), plain)
    among = torch.where(is_zero | (over == "nonzero"), middle, among)
    return Rank((zeros + among).clamp(max=total - 1), is_zero, guarded)


def sensitivity(theta: Tensor, gradient: Tensor, start: int, stop: int) -> Tensor:
    """|theta * gradient| of the coordinates ``start:stop``, at least in float32."""
    value = torch.mul(theta[start:stop], gradient[start:stop]).abs_()
    return value if value.dtype in (torch.float32, torch.float64) else value.float()


def exact_median(
    theta: Tensor,
    gradient: Tensor,
    *,
    over: Over = "all",
    reduce_sum: Reduce = lambda t: t,
    total: int | None = None,
) -> Normaliser:
    """The exact lower median of |theta * gradient|, in the sense of ``over``.

    ``theta``, ``gradient``: (d,), or this rank's shards of them; then ``reduce_sum`` adds a tensor over the ranks and
    ``total`` is the d of all ranks together.
    """
    total = theta.numel() if total is None else total
    top, zeros, bad = _first_histogram(theta, gradient)
    top, zeros, bad = reduce_sum(top), reduce_sum(zeros), reduce_sum(bad)
    place, is_zero, guarded = median_rank(zeros, total, over)
    prefix, rank = _select(top, place)
    double = torch.promote_types(theta.dtype, gradient.dtype) == torch.float64
    for shift in (32, 16, 0) if double else (0,):
        prefix, rank = _refine(theta, gradient, shift, prefix, rank, reduce_sum)
    value = prefix.view(torch.float64) if double else prefix.to(torch.int32).view(torch.float32)
    return Normaliser(value, is_zero, guarded, bad)


def fast_median(theta: Tensor, gradient: Tensor, *, over: Over = "all") -> Normaliser:
    """:func:`exact_median` of unsharded vectors (d,), faster where they are long and compiled; equal in every bit."""
    return _bracketed_median(theta, gradient, over) or exact_median(theta, gradient, over=over)


def _bracketed_median(theta: Tensor, gradient: Tensor, over: Over) -> Normaliser | None:
    """The median by one compiled counting pass, or None: no compiler, numbers not finite, or a bracket that missed."""
    size = theta.numel()
    whole = size - size % BLOCK
    # on a device the whole at once: it would have to be waited for after each piece
    piece = PIECE if theta.device.type == "cpu" else max(whole, BLOCK)
    if not (theta.dtype == gradient.dtype == torch.float32 and piece <= size < 2**31):
        return None
    low, high = _bracket(theta, gradient, over)
    counted = _count_blocks(theta[:whole], gradient[:whole], low, high, piece)
    if counted is None:
        return None
    sums, blocks = counted
    tail = sensitivity(theta, gradient, whole, size)
    in_tail = [(tail < low).sum(), (tail <= high).sum(), (tail > 0).sum(), (tail < torch.inf).sum()]
    below, up_to, positive, finite = (sums + torch.stack(in_tail)).long().tolist()
    zeros = size - positive
    place, is_zero, guarded = median_rank(torch.tensor(zeros), size, over)
    rank = int(place)
    if finite < size or positive == 0 or not below <= rank < up_to:
        return None
    pieces = chain((tail,), _gathered(theta, gradient, blocks))  # one at a time: they share their memory
    inside = torch.cat([_between(piece, low, high) for piece in pieces])
    value = _of_ranks(inside, [rank - below])[0]
    bad = torch.tensor(0, device=theta.device)
    return Normaliser(value, is_zero.to(theta.device), guarded.to(theta.device), bad)


def _count_blocks(
    theta: Tensor, gradient: Tensor, low: Tensor, high: Tensor, piece: int
) -> tuple[Tensor, Tensor] | None:
    """The sums (4,) of :func:`block_counts` over all blocks, and the blocks that have numbers in the bracket.

    Counted ``piece`` coordinates at a time, so that what is compiled serves every length and the counts take little
    memory; the last piece reaches back over blocks that were counted before. None: no compiler.
    """
    size = theta.numel()
    sums = torch.zeros(4, dtype=torch.float64, device=theta.device)
    marked = []
    for start in range(0, size, piece):
        first = min(start, size - piece)
        part = slice(first, first + piece)
        counts = attempt(block_counts, piece, theta[part], gradient[part], low, high)
        if counts is False:
            return None
        counts = counts[:, (start - first) // BLOCK :]
        sums += _row_sums(counts)
        marked.append((counts[1] > counts[0]).nonzero()[:, 0] + start // BLOCK)
    return sums, torch.cat(marked)


def _bracket(theta: Tensor, gradient: Tensor, over: Over) -> tuple[Tensor, Tensor]:
    """Two sensitivities between which the median lies with a chance of 99.7 % (three standard deviations).

    Never 0: the zeros, of which there may be many, are no candidates (the median is among the others in any case).
    """
    stride = max(theta.numel() // SAMPLES, 31) | 1
    sample = torch.mul(theta[::stride], gradient[::stride]).abs_()
    size = len(sample)
    zeros = size - _count_positive(sample)
    rank = median_rank(torch.tensor(zeros), size, over)
    counted = size - zeros if over == "nonzero" or rank.is_zero else size
    middle, spread = int(rank.place), int(1.5 * counted**0.5) + 1
    low, high = max(middle - spread, 0), min(middle + spread, size - 1)
    found = _of_ranks(sample, [min(low, size - 1), high])
    return found[0].clamp(min=torch.finfo(found.dtype).tiny), found[1]


def _row_sums(counts: Tensor) -> Tensor:
    """The sums (4,) of whole numbers (4, n), exact in float64; torch would make a float64 copy of them on a CPU."""
    if counts.device.type != "cpu":
        return counts.sum(1, dtype=torch.float64)
    return torch.from_numpy(counts.numpy().sum(1, dtype=np.float64))


def _gathered(theta: Tensor, gradient: Tensor, blocks: Tensor) -> Iterator[Tensor]:
    """The sensitivities in ``blocks`` (n,), some thousand blocks at a time, which stay in the cache; valid until next.

    In the same memory each time: many short-lived pieces between small ones that stay would add up to a good part
    of a vector.
    """
    whole = theta.numel() - theta.numel() % BLOCK
    rows = [v[:whole].view(-1, BLOCK) for v in (theta, gradient)]
    at_once = GATHERED if theta.device.type == "cpu" else 32 * GATHERED
    memory = [theta.new_empty(at_once, BLOCK) for _ in rows]
    for some in blocks.split(at_once):
        found = [torch.index_select(r, 0, some, out=m[: len(some)]) for r, m in zip(rows, memory, strict=True)]
        yield found[0].mul_(found[1]).abs_().flatten()


def _of_ranks(values: Tensor, ranks: Sequence[int]) -> Tensor:
    """The numbers of these ranks (0-based) among ``values`` (n,) >= 0, float32 or float64, which are reordered."""
    if values.device.type != "cpu":
        return values.sort().values[list(ranks)]  # kthvalue is slower there, and not deterministic
    # numpy selects several times faster than kthvalue, and three times faster than it sorts; numbers >= 0 are ordered
    # as their bits are, and integers are selected twice as fast
    bits = _as_integers(values)
    bits.partition(list(ranks))
    return torch.from_numpy(bits[list(ranks)]).view(values.dtype)


def _count_positive(values: Tensor) -> int:
    """How many of the ``values`` (n,) >= 0 are not 0."""
    if values.device.type != "cpu":
        return int(torch.count_nonzero(values))
    return int(np.count_nonzero(_as_integers(values)))  # three times as fast as among floats


def _as_integers(values: Tensor) -> np.ndarray:
    """The bits of float32 or float64 on a processor, in the same memory."""
    return values.numpy().view(np.int64 if values.dtype == torch.float64 else np.int32)


def _between(values: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The ``values`` (n,) in the closed interval."""
    if values.device.type != "cpu":
        return values[(values >= low) & (values <= high)]
    array = values.numpy()  # numpy: for the same reason
    return torch.from_numpy(array[(array >= low.numpy()) & (array <= high.numpy())])


def _first_histogram(theta: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Histogram of the top 16 bits, the number of zeros, and the number of entries that are not finite."""
    histogram = torch.zeros(_BINS, dtype=torch.int64, device=gradient.device)
    nonzeros = torch.zeros((), dtype=torch.int64, device=gradient.device)
    infinite = 0
    for values in _chunks(theta, gradient):
        bits, shift, infinite = _bits(values)
        histogram += torch.bincount(bits >> shift, minlength=_BINS)
        nonzeros += torch.count_nonzero(bits)
    # the largest exponent marks infinities and NaN; its bins follow those of all finite numbers
    return histogram, theta.numel() - nonzeros, histogram[infinite:].sum()


def _refine(
    theta: Tensor, gradient: Tensor, shift: int, prefix: Tensor, rank: Tensor, reduce_sum: Reduce
) -> tuple[Tensor, Tensor]:
    """The next 16 bits of the number of that ``rank`` among those whose higher bits are ``prefix``."""
    histogram = torch.zeros(_BINS, dtype=torch.int64, device=gradient.device)
    for values in _chunks(theta, gradient):
        bits, _, _ = _bits(values)
        inside = bits[(bits >> (shift + 16)) == prefix]
        histogram += torch.bincount((inside >> shift) & (_BINS - 1), minlength=_BINS)
    low, rank = _select(reduce_sum(histogram), rank)
    return (prefix << 16) | low, rank


def _chunks(theta: Tensor, gradient: Tensor) -> Iterator[Tensor]:
    size = chunk_size(theta.device, CHUNK)
    for start in range(0, theta.numel(), size):
        yield sensitivity(theta, gradient, start, start + size)


def _bits(values: Tensor) -> tuple[Tensor, int, int]:
    """The bits of floats >= 0 as integers, the shift to their top 16, and the first bin of what is not finite."""
    if values.dtype == torch.float64:
        return values.view(torch.int64), 48, 0x7FF0
    return values.view(torch.int32), 16, 0x7F80


def _select(histogram: Tensor, rank: Tensor) -> tuple[Tensor, Tensor]:
    """The bin that holds the entry of ``rank`` (0-based), and its rank inside that bin."""
    cumulated = histogram.cumsum(0)
    chosen = torch.searchsorted(cumulated, rank, right=True).clamp(max=_BINS - 1)
    return chosen, rank - (cumulated[chosen] - histogram[chosen])
