"""Task gradients at other points than the current parameters."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mtbench.training.forward import Pending
from mtbench.training.sharding import Shard


class PerturbedPass:
    """Moves the shared parameters, lets a task's gradient be computed there, and puts them back bit for bit.

    Parameters that one task uses alone stay. Keeps one copy of all parameters.
    """

    def __init__(self, shard: Shard) -> None:
        self.shard = shard
        self._saved: Tensor | None = None

    @torch.no_grad()
    def __call__(self, offset: Tensor, forward: Callable[[], Pending]) -> tuple[Tensor, float]:
        """The gradient on this rank's shared coordinates at ``theta + offset``, and the loss; in the flat buffer, so
        valid until the next backward pass. ``offset``: of this rank's shared coordinates."""
        shard, flat = self.shard, self.shard.flat
        saved = self._saved = torch.empty_like(flat.theta) if self._saved is None else self._saved
        saved.copy_(flat.theta)
        try:
            flat.theta[shard.shared] += offset
            shard.broadcast_shared()
            flat.gradient.zero_()
            with torch.enable_grad():
                pending = forward()
                pending.backward()
            shard.reduce_scatter(flat.gradient)
        finally:
            flat.theta.copy_(saved)
        return flat.gradient[shard.shared], pending.loss
