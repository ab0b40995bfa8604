"""Several processes that train one model together: what they exchange, and the single process that needs nothing.

Each task's batch is split over the ranks, passages are gathered so that every query sees the negatives of all ranks,
and each task's flat gradient is summed over ranks before anything nonlinear is done with it. The losses are divided by
the size of the whole batch, so that sums over ranks equal one process with the whole batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Ranks:
    """This process among ``size`` processes; the base class is one process alone."""

    rank = 0
    size = 1

    def share(self, count: int) -> slice:
        """The rows of a batch of ``count`` that this rank works on."""
        return slice(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    def gather(self, vectors: Tensor, counts: list[int]) -> Tensor:
        """Rows of all ranks in order, ``(sum(counts), d)``; gradients flow back to the rank that made them."""
        return vectors

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over ranks, in place."""
        return tensor

    def same(self, tensor: Tensor) -> bool:
        """Whether all ranks hold the same bits in ``tensor``."""
        return True


class TorchRanks(Ranks):
    """The ranks of an initialised ``torch.distributed`` process group (gloo or nccl)."""

    def __init__(self) -> None:
        import torch.distributed as dist

        self.rank, self.size = dist.get_rank(), dist.get_world_size()

    def gather(self, vectors: Tensor, counts: list[int]) -> Tensor:
        gathered: Tensor = _Gather.apply(vectors, counts, self.rank)
        return gathered

    def sum(self, tensor: Tensor) -> Tensor:
        import torch.distributed as dist

        dist.all_reduce(tensor)
        return tensor

    def same(self, tensor: Tensor) -> bool:
        import torch.distributed as dist

        bits = tensor.detach().contiguous().view(torch.uint8).to(torch.int64)
        places = torch.arange(1, len(bits) + 1, device=bits.device) % 65_521
        mine = torch.stack([bits.sum(), (bits * places).sum()])
        low, high = mine.clone(), mine.clone()
        dist.all_reduce(low, op=dist.ReduceOp.MIN)
        dist.all_reduce(high, op=dist.ReduceOp.MAX)
        return bool(torch.equal(low, high))


class _Gather(torch.autograd.Function):
    """All-gather of ragged rows with a backward that sums each rank's contributions."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, counts: list[int], rank: int) -> Tensor:
        import torch.distributed as dist

        ctx.counts, ctx.rank = counts, rank
        longest = max(counts)
        padded = vectors.new_zeros(longest, vectors.shape[1])
        padded[: len(vectors)] = vectors
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        import torch.distributed as dist

        gradient = gradients[0].contiguous()
        dist.all_reduce(gradient)
        start = sum(ctx.counts[: ctx.rank])
        return gradient[start : start + ctx.counts[ctx.rank]], None, None
