"""Which coordinates of the flat vector this rank keeps state for: all of them, or a slice.

With sharded state each rank owns a contiguous slice: it gets the sum over ranks of that slice of each task's gradient,
runs the multitask optimizer and Adam on it, and sends the new weights to the others. The optimizer reduces what it
takes over all coordinates (Gram matrix, histograms, norms) with ``reduce_sum``. What K rows or averages cost falls as
K * d / R.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mtbench.errors import RunError
from mtbench.model.flat import FlatParameters
from mtbench.optim.contract import Layout, MultitaskOptimizer
from mtbench.training.ranks import Ranks


class Shard:
    """The coordinates of one rank: ``shared`` among those that all tasks use, ``own`` among those of single tasks.

    Vectors of this rank (the update, Adam's moments) hold the shared coordinates first, then its own ones.
    """

    def __init__(self, flat: FlatParameters, ranks: Ranks, sharded: bool) -> None:
        self.flat, self.ranks = flat, ranks
        self.active = sharded and ranks.size > 1
        self.total, middle = flat.theta.numel(), flat.num_shared
        if self.active:
            self._shared = ranks.shares(middle)
            self._own = [slice(middle + s.start, middle + s.stop) for s in ranks.shares(self.total - middle)]
        else:
            self._shared = [slice(0, middle)] * ranks.size
            self._own = [slice(middle, self.total)] * ranks.size
        self.shared, self.own = self._shared[ranks.rank], self._own[ranks.rank]
        self.num_shared = self.shared.stop - self.shared.start
        self.size = self.num_shared + self.own.stop - self.own.start

    # -- one step ----------------------------------------------------------------------------------------------

    def reduce_scatter(self, gradient: Tensor) -> None:
        """Sum a task's flat gradient (d,) over ranks, in place; valid on this rank's coordinates."""
        if not self.active:
            self.ranks.all_reduce(gradient)
            return
        self.ranks.reduce_scatter(gradient, self._shared)
        if self.total > self.flat.num_shared:
            self.ranks.reduce_scatter(gradient, self._own)

    def broadcast(self) -> None:
        """Send the weights of this rank's coordinates to all ranks."""
        self.broadcast_shared()
        if self.active:
            self.ranks.broadcast(self.flat.theta, self._own)

    def broadcast_shared(self) -> None:
        """Send the shared ones of this rank's weights to all ranks."""
        if self.active:
            self.ranks.broadcast(self.flat.theta, self._shared)

    def norm(self, vector: Tensor) -> float:
        """The norm over all ranks of a vector of which this rank has its coordinates."""
        if not self.active:
            return float(torch.linalg.vector_norm(vector))
        return float(self.summed(torch.linalg.vector_norm(vector, dtype=torch.float64).square()).sqrt())

    def summed(self, sums: Tensor) -> Tensor:
        """Sums over this rank's coordinates, made sums over those of all ranks."""
        return self.ranks.all_reduce(sums) if self.active else sums

    def own_segment(self, task: int) -> tuple[slice, slice] | None:
        """Where the parameters that only ``task`` uses lie: in the flat vector, and in this rank's vectors."""
        segment = self.flat.own_segment(task)
        if segment is None:
            return None
        start, stop = max(segment[0], self.own.start), min(segment[1], self.own.stop)
        if start >= stop:
            return None
        shift = self.num_shared - self.own.start
        return slice(start, stop), slice(start + shift, stop + shift)

    # -- set-up ------------------------------------------------------------------------------------------------

    def start(self, optimizer: MultitaskOptimizer) -> tuple[Tensor, Layout]:
        """The ``theta`` and ``layout`` that ``optimizer`` starts with; its sums over coordinates span all ranks.

        Every parameter stays in the layout; one that lies on other ranks has an empty range.
        """
        low, high = self.shared.start, self.shared.stop
        optimizer.offset = low
        optimizer.reduce_sum = self.ranks.all_reduce if self.active else _as_it_is
        optimizer.reduce_max = self.ranks.all_reduce_max if self.active else _as_it_is
        layout = [(name, _clip(a, low, high) - low, _clip(b, low, high) - low) for name, a, b in self.flat.layout]
        return self.flat.theta[self.shared], layout

    def pieces(self) -> list[slice]:
        """The slices of the flat vector that Adam moves on this rank."""
        if not self.active:
            return [slice(0, self.total)]
        return [piece for piece in (self.shared, self.own) if piece.stop > piece.start]

    def check_equal(self, optimizer: MultitaskOptimizer, done: int, episode: int) -> None:
        """RunError unless all ranks hold the same weights, of the model and of the tasks, after ``done`` steps."""
        if self.ranks.size == 1:
            return
        shares = (optimizer.shares() if optimizer.chooses_batches else None) or ()
        task_weights = torch.tensor([done, *optimizer.report()["weights"], *shares], dtype=torch.float64)
        if not (self.ranks.all_equal(task_weights) and self.ranks.all_equal(self.flat.theta)):
            raise RunError(
                f"after step {done} of episode {episode} the ranks' weights differ: a reduction is missing (does the "
                "optimizer use reduce_sum?), or the ranks run on different kinds of machines, versions or files"
            )

    # -- state that is the same for every number of ranks ---------------------------------------------------------

    def gather(self, state: Any) -> Any:
        """On rank 0 ``state`` with every tensor (..., d) over this rank's shared coordinates made whole."""
        if not self.active:
            return state
        if isinstance(state, dict):
            return {key: self.gather(value) for key, value in state.items()}
        if isinstance(state, (list, tuple)):
            return [self.gather(value) for value in state]
        if isinstance(state, Tensor) and state.shape[-1:] == (self.num_shared,):
            if state.dim() > 1:
                return torch.stack([self.gather(row) for row in state])
            return self.ranks.gather(state, self._shared)
        return state

    def scatter(self, state: Any) -> Any:
        """The inverse of :meth:`gather`: this rank's part of a whole state."""
        if not self.active:
            return state
        if isinstance(state, dict):
            return {key: self.scatter(value) for key, value in state.items()}
        if isinstance(state, (list, tuple)):
            return [self.scatter(value) for value in state]
        if isinstance(state, Tensor) and state.shape[-1:] == (self.flat.num_shared,):
            return state[..., self.shared].clone()
        return state

    def gather_flat(self, local: Tensor) -> Tensor:
        """On rank 0 the whole vector (d,) of whose coordinates the ranks hold theirs in ``local``."""
        shared = self.ranks.gather(local[: self.num_shared], self._shared)
        own = self.ranks.gather(local[self.num_shared :], self._own)
        return torch.cat([shared, own])


def _clip(value: int, low: int, high: int) -> int:
    return min(max(value, low), high)


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor
