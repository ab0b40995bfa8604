"""Several processes that train one model together: what they exchange, and the single process that needs nothing.

The exchanges bear the names of ``torch.distributed``'s collectives; all ranks call them in the same order.

Each task's batch is split over the ranks, passages are gathered so that every query sees the negatives of all ranks,
and each task's flat gradient is summed over ranks before anything nonlinear is done with it. The losses are divided by
the size of the whole batch, so that sums over ranks equal one process with the whole batch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch.distributed import Store as Control

TIMEOUT = timedelta(minutes=30)
"""How long one rank waits for another inside an exchange: rank 0 may be writing a large checkpoint."""
PATIENCE = timedelta(days=30)
"""How long ranks wait for what rank 0 does alone."""
CHUNK = 1 << 20


class Ranks:
    """This process among ``size`` processes; the base class is one process alone."""

    rank = 0
    size = 1

    def shares(self, count: int) -> list[slice]:
        """``count`` things split into one contiguous share per rank, as equal as can be."""
        return [slice(r * count // self.size, (r + 1) * count // self.size) for r in range(self.size)]

    def share(self, count: int) -> slice:
        """The share of this rank, such as the rows of a batch that it works on."""
        return self.shares(count)[self.rank]

    def all_gather(self, vectors: Tensor, counts: list[int]) -> Tensor:
        """Rows of all ranks in order, ``(sum(counts), d)``; gradients flow back to the rank that made them."""
        return vectors

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """The sum over ranks, in place."""
        return tensor

    def all_reduce_max(self, tensor: Tensor) -> Tensor:
        """The elementwise maximum over ranks, in place."""
        return tensor

    def reduce_scatter(self, tensor: Tensor, shares: Sequence[slice]) -> None:
        """The sum of ``tensor`` (d,) over ranks, in place, of each share on its rank; the rest is undefined after."""

    def broadcast(self, tensor: Tensor, shares: Sequence[slice]) -> None:
        """Each rank's share of ``tensor`` (d,) on all ranks, in place."""

    def gather(self, piece: Tensor, shares: Sequence[slice]) -> Tensor:
        """On rank 0 the whole vector (on the CPU) whose shares the ranks hold in ``piece``; elsewhere ``piece``."""
        return piece

    def all_equal(self, tensor: Tensor) -> bool:
        """Whether all ranks hold the same bits in ``tensor``."""
        return True

    def barrier(self) -> None:
        """Until all ranks are here."""

    def led(self, work: Callable[[], None]) -> None:
        """``work`` on rank 0, however long it takes, while the others wait outside of any exchange."""
        work()


class TorchRanks(Ranks):
    """The ranks of an initialised ``torch.distributed`` process group (gloo or nccl).

    ``control`` is the group's key-value store, by which ranks tell each other what comes next and what failed.
    """

    def __init__(self, control: Control | None = None) -> None:
        import torch.distributed as dist

        self._dist = dist
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.control, self._led = control, 0

    def led(self, work: Callable[[], None]) -> None:
        self._led += 1
        key = f"led/{self._led}"
        if self.rank and self.control is not None:
            self.control.wait([key], PATIENCE)  # an exchange would give up after TIMEOUT
        if self.rank:
            return
        try:
            work()
        finally:
            if self.control is not None:
                self.control.set(key, "done")

    def all_gather(self, vectors: Tensor, counts: list[int]) -> Tensor:
        gathered: Tensor = _AllGather.apply(vectors, counts, self.rank)
        return gathered

    def all_reduce(self, tensor: Tensor) -> Tensor:
        self._dist.all_reduce(tensor)
        return tensor

    def all_reduce_max(self, tensor: Tensor) -> Tensor:
        self._dist.all_reduce(tensor, op=self._dist.ReduceOp.MAX)
        return tensor

    def reduce_scatter(self, tensor: Tensor, shares: Sequence[slice]) -> None:
        # gloo has no reduce-scatter of unequal shares; one reduction per share moves the same bytes
        under_way = [
            self._dist.reduce(tensor[share], dst=r, async_op=True) for r, share in enumerate(shares) if _count(share)
        ]
        for work in under_way:
            work.wait()

    def broadcast(self, tensor: Tensor, shares: Sequence[slice]) -> None:
        under_way = [
            self._dist.broadcast(tensor[share], src=r, async_op=True) for r, share in enumerate(shares) if _count(share)
        ]
        for work in under_way:
            work.wait()

    def gather(self, piece: Tensor, shares: Sequence[slice]) -> Tensor:
        if self.rank:
            if len(piece):
                self._dist.send(piece.cpu().contiguous(), dst=0)  # gloo sends and receives no memory of a GPU
            return piece
        whole = torch.empty(shares[-1].stop - shares[0].start, dtype=piece.dtype)
        for r, share in enumerate(shares):
            part = piece if r == 0 else torch.empty(_count(share), dtype=piece.dtype)
            if r and len(part):
                self._dist.recv(part, src=r)
            whole[share.start - shares[0].start : share.stop - shares[0].start] = part.cpu()
        return whole

    def all_equal(self, tensor: Tensor) -> bool:
        mine = _digest(tensor)
        low, high = mine.clone(), mine.clone()
        self._dist.all_reduce(low, op=self._dist.ReduceOp.MIN)
        self._dist.all_reduce(high, op=self._dist.ReduceOp.MAX)
        return bool(torch.equal(low, high))

    def barrier(self) -> None:
        self.all_reduce(torch.zeros(1))


def _count(share: slice) -> int:
    return int(share.stop - share.start)


def _digest(tensor: Tensor) -> Tensor:
    """Two integers that depend on every bit of ``tensor`` and on its place."""
    total = torch.zeros(2, dtype=torch.int64, device=tensor.device)
    words = tensor.detach().contiguous().flatten().view(torch.int32)
    for start in range(0, len(words), CHUNK):
        part = words[start : start + CHUNK].to(torch.int64)
        places = torch.arange(start + 1, start + len(part) + 1, device=part.device) % 65_521
        total += torch.stack([part.sum(), (part * places).sum()])
    return total


class _AllGather(torch.autograd.Function):
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

        gradient = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        start = sum(ctx.counts[: ctx.rank])
        return gradient[start : start + ctx.counts[ctx.rank]], None, None


_ALONE = Ranks()
_joined: list[Ranks] = []


def current_ranks() -> Ranks:
    """The ranks that this process has joined, or one process alone."""
    return _joined[-1] if _joined else _ALONE


@dataclass(frozen=True)
class RankPlace:
    """This process's place among ``size`` processes that meet at ``address:port``; ``local_...``: on this machine."""

    rank: int
    size: int
    local_rank: int
    local_size: int
    address: str
    port: int

    @property
    def variables(self) -> dict[str, str]:
        """The same for a child process, in the variables that ``torchrun`` sets."""
        return {
            "RANK": str(self.rank),
            "WORLD_SIZE": str(self.size),
            "LOCAL_RANK": str(self.local_rank),
            "LOCAL_WORLD_SIZE": str(self.local_size),
            "MASTER_ADDR": self.address,
            "MASTER_PORT": str(self.port),
        }


def join_ranks(place: RankPlace | None = None) -> TorchRanks:
    """Join the other processes, at ``place`` or where the variables of ``torchrun`` say.

    With a GPU for each process of this machine NCCL moves what lies on GPUs; otherwise, and on the CPU, gloo.
    """
    import torch.distributed as dist

    # Its functions take the process group of the moment of their import as a default argument, and so keep it alive
    # for good; torch imports it with torch._dynamo, in the first optimizer step. A group that outlives leave_ranks
    # has threads that now and then abort the whole process ("terminate called without an active exception") when they
    # let go of a tensor while the interpreter shuts down. Imported here, it finds no group yet.
    import torch.distributed.nn.functional
    from torch.distributed.rendezvous import rendezvous

    if place is None:
        meeting = "env://"
        local, here = int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    else:
        meeting = f"tcp://{place.address}:{place.port}?rank={place.rank}&world_size={place.size}"
        local, here = place.local_rank, place.local_size
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if gpus:
        torch.cuda.set_device(local % gpus)
    control, rank, size = next(iter(rendezvous(meeting, timeout=TIMEOUT)))
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if gpus and here <= gpus else "gloo",
        store=dist.PrefixStore("exchange", control),
        rank=rank,
        world_size=size,
        timeout=TIMEOUT,
    )
    ranks = TorchRanks(dist.PrefixStore("control", control))
    _joined.append(ranks)
    return ranks


def leave_ranks() -> None:
    """Close this process's connections to the others: exchanges that wait for it fail there."""
    import torch.distributed as dist

    _joined.clear()
    if dist.is_initialized():
        dist.destroy_process_group()
