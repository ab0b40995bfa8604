"""Small arithmetic on one number per task, in float64 on the host."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class TaskAdam:
    """Adam (Kingma & Ba, ICLR 2015, Algorithm 1) on K numbers, each with its own count of steps.

    ``eps`` is 0 by default, so that scaling all derivatives changes nothing; a derivative that has always been 0
    moves nothing. :meth:`state_dict` has arrays only.
    """

    def __init__(self, size: int, lr: float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 0.0) -> None:
        self.lr, self.betas, self.eps = lr, betas, eps
        self.first, self.second, self.count = np.zeros(size), np.zeros(size), np.zeros(size)

    def change(self, derivative: np.ndarray, tasks: Sequence[int]) -> np.ndarray:
        """What to add to the numbers of ``tasks`` (n,), from their ``derivative`` (n,)."""
        at = list(tasks)
        b1, b2 = self.betas
        self.count[at] += 1
        self.first[at] = b1 * self.first[at] + (1 - b1) * derivative
        self.second[at] = b2 * self.second[at] + (1 - b2) * derivative**2
        mean = self.first[at] / (1 - b1 ** self.count[at])
        size = np.sqrt(self.second[at] / (1 - b2 ** self.count[at])) + self.eps
        return -self.lr * np.divide(mean, size, out=np.zeros_like(mean), where=size > 0)

    def state_dict(self) -> dict[str, np.ndarray]:
        """Moments and counts."""
        return {"first": self.first.copy(), "second": self.second.copy(), "count": self.count.copy()}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Take over what :meth:`state_dict` gave."""
        self.first, self.second, self.count = (np.array(state[n], dtype=float) for n in ("first", "second", "count"))
