"""Which task each parameter belongs to while a method trains, and how many keep theirs.

The commitment rate of TACO-DR (section 5): the share of parameters whose task stays the same from one logged step to
the next, a parameter's task being the one with the largest averaged sensitivity.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mtbench.optim.streaming import spans

Sum = Callable[[Tensor], Tensor]
"""Adds a tensor over the ranks, of which each holds a slice of the parameters."""


class Ownership:
    """The tasks of the parameters at the last look: ``owners`` (d,) holds task + 1, or 0 where every task has 0.

    None before the first look.
    """

    def __init__(self) -> None:
        self.owners: Tensor | None = None

    def restore(self, owners: Tensor | None, device: torch.device) -> None:
        """From a checkpoint."""
        self.owners = None if owners is None else owners.to(device)

    def look(self, importances: Sequence[Tensor], reduce_sum: Sum) -> float | None:
        """Take down the task of each parameter by the ``importances`` (K of (d,)), and compare.

        The share of the parameters that had a task at the last look and have the same one now; None at the first look,
        or where no parameter had one. All ranks call it together.
        """
        kind = torch.uint8 if len(importances) < 255 else torch.int32
        owners = torch.empty(importances[0].shape, dtype=kind, device=importances[0].device)
        same, known = torch.zeros(2, dtype=torch.float64, device=owners.device).unbind()
        for start, stop in spans(owners):
            largest, task = torch.stack([i[start:stop] for i in importances]).max(dim=0)
            new = torch.where(largest > 0, task + 1, 0).to(kind)
            if self.owners is not None:
                old = self.owners[start:stop]
                had = old > 0
                known += had.sum()
                same += (had & (old == new)).sum()
            owners[start:stop] = new
        self.owners = owners
        total, kept = reduce_sum(torch.stack([known, same])).tolist()
        return kept / total if total else None
