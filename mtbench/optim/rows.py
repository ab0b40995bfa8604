"""Methods that keep the K gradients of a step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mtbench.optim.contract import MultitaskOptimizer
from mtbench.optim.hooks import GradientAt, by_draw


class RowKeeping(MultitaskOptimizer):
    """Keeps the K rows of a step in one ``(K, d)`` buffer that is reused from step to step."""

    def open_step(self, losses: Sequence[float] | None) -> None:
        if not hasattr(self, "_buffers"):
            self._buffers: dict[int, Tensor] = {}

    def combine(self, gradients: Tensor, losses: Tensor, *, gradient_at: GradientAt | None = None) -> Tensor:
        """As :meth:`MultitaskOptimizer.combine`, reading the caller's rows in place instead of copying them."""
        self._given: Tensor | None = by_draw(gradients.detach(), self.draws, 2)
        try:
            return super().combine(gradients, losses, gradient_at=gradient_at)
        finally:
            self._given = None

    def add_task(self, k: int, gradient: Tensor) -> None:
        self.add_draw(k, gradient, 0)

    def add_draw(self, k: int, gradient: Tensor, draw: int) -> None:
        if getattr(self, "_given", None) is not None:
            return
        buffer = self._buffers.get(draw)
        shape, like = (self.num_tasks, gradient.numel()), (gradient.dtype, gradient.device)
        if buffer is None or buffer.shape != shape or (buffer.dtype, buffer.device) != like:
            buffer = self._buffers[draw] = torch.empty(shape, dtype=gradient.dtype, device=gradient.device)
        buffer[k].copy_(gradient)

    def _rows(self, draw: int) -> Tensor:
        rows = getattr(self, "_given", None)
        return self._buffers[draw] if rows is None else rows[draw]

    def row(self, k: int, draw: int = 0) -> Tensor:
        """The gradient (d,) of task ``k``, which must be present; read only."""
        return self._rows(draw)[k]

    def present_rows(self, draw: int = 0) -> Tensor:
        """The rows ``(n, d)`` of the present tasks, in the order of the tasks; read only."""
        self.tasks = sorted(self.present)
        rows = self._rows(draw)
        return rows if len(self.tasks) == self.num_tasks else rows[self.tasks]

    def present_losses(self) -> np.ndarray:
        """The losses (n,) of the present tasks, float64."""
        return np.asarray([self.losses[k] for k in sorted(self.present)])
