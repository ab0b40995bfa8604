"""Small methods that keep every promise; each planted fault is one of them with one thing wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from mtbench.optim import Cost, GradientCombining, GramWeighting, LossWeighting, PerTask, hyper, reset_field


def shares_of(values: np.ndarray) -> np.ndarray:
    """Divided by their sum; uniform where all are zero."""
    total = values.sum()
    return values / total if total > 0 else np.full(len(values), 1.0 / len(values))


class Average(LossWeighting):
    """Weights by a running mean of the losses' sizes, after a window in which they are uniform."""

    name = "planted"
    summary = "weights from a running mean"
    state = ("average", "steps")

    beta: float = hyper(0.9, ge=0, lt=1)
    window: int = hyper(12, ge=1)
    power: float = hyper(0.5, ge=0, le=1)
    form: Literal["plain", "root"] = hyper("plain")
    reset_on_episode: bool = reset_field()

    def init_state(self) -> None:
        self.average: Any = np.ones(self.num_tasks)
        self.steps = 0

    def weights_before(self) -> list[float]:
        if self.steps < 3:
            return [1.0 / self.num_tasks] * self.num_tasks
        power = self.power / 2 if self.form == "root" else self.power
        return list(shares_of(self.average**power))

    def observe(self, losses: np.ndarray) -> None:
        kept = self.average[self.tasks]
        self.average[self.tasks] = self.beta * kept + (1 - self.beta) * (1e-3 + np.minimum(np.abs(losses), 1e12))
        self.steps += 1


class SoftLosses(LossWeighting):
    """Weights by the losses of the step."""

    name = "planted"
    summary = "weights from losses"

    def weights_from_losses(self, losses: np.ndarray) -> np.ndarray:
        return shares_of(1.0 / (1.0 + np.abs(losses)))


class Norms(GramWeighting):
    """Weights by the gradients' norms."""

    name = "planted"
    summary = "weights proportional to norms"

    def weights_from_gram(self, gram: np.ndarray, losses: np.ndarray) -> np.ndarray:
        return shares_of(np.sqrt(np.diag(gram)))


class Tracked(GradientCombining):
    """The mean of running means of the gradients, as long as the longest of them."""

    name = "planted"
    summary = "follows gradients over time"
    state = ("rows", "seen")
    rescales = True
    shardable = True

    reset_on_episode: bool = reset_field()

    def init_state(self) -> None:
        self.rows = torch.zeros(self.num_tasks, len(self.theta), dtype=self.theta.dtype, device=self.theta.device)
        self.seen = np.zeros(self.num_tasks)

    def combine_gradients(self, gradients: Tensor, losses: np.ndarray) -> Tensor:
        self.seen[self.tasks] += 1
        self.rows[self.tasks] = 0.5 * self.rows[self.tasks] + 0.5 * gradients
        rows = self.rows[self.tasks]
        sizes = self.norms(rows)
        return (rows * (1.0 + torch.nan_to_num(sizes / sizes.max()))[:, None]).mean(0)

    def norms(self, rows: Tensor) -> Tensor:
        largest = self.reduce_max((torch.cat([rows.abs(), rows.new_zeros(len(rows), 1)], dim=1)).amax(1))
        safe = torch.where(largest > 0, largest, 1.0)
        return safe * self.reduce_sum((rows / safe[:, None]).square().sum(1)).sqrt()


class Drawn(LossWeighting):
    """Weights that are drawn anew in every step."""

    name = "planted"
    summary = "random weights"
    random = True

    def weights_before(self) -> list[float]:
        return list(shares_of(np.exp(self.draw())))

    def draw(self) -> np.ndarray:
        return self.generator.normal(size=self.num_tasks)


class Layered(LossWeighting):
    """Weights by the norms over one named layer, or over all without a layout."""

    name = "planted"
    summary = "weights from the norms of one layer"
    cost: ClassVar[Cost] = "norms"
    state = ("lengths",)

    reset_on_episode: bool = reset_field()

    def init_state(self) -> None:
        self.lengths = np.zeros(self.num_tasks)

    def begin_episode(self) -> None:
        self._part = self.part() if self.layout else slice(0, len(self.theta))

    def part(self) -> slice:
        return next(slice(a, b) for name, a, b in self.layout or () if name == "decoder.block.1.weight")

    def open_step(self, losses: Sequence[float] | None) -> None:
        super().open_step(losses)
        self._norms: dict[int, Tensor] = {}

    def weights_before(self) -> list[float]:
        return list(shares_of(0.1 * self.lengths.max() + self.lengths))

    def add_task(self, k: int, gradient: Tensor) -> None:
        super().add_task(k, gradient)
        self._norms[k] = torch.linalg.vector_norm(gradient[self._part], dtype=torch.float64).square()

    def observe(self, losses: np.ndarray) -> None:
        squares = self.reduce_sum(torch.stack([self._norms[k] for k in self.tasks]))
        self.lengths[self.tasks] = squares.sqrt().numpy()


class Drawing(GradientCombining):
    """Weights by how well the two further draws of a task agree."""

    name = "planted"
    summary = "three draws"
    draws = 3
    weighted_sum = True

    def combine_gradients(self, gradients: Tensor, losses: np.ndarray) -> Tensor:
        one, other = self.further()
        agreement = (one * other).sum(1).clamp(min=0).double().numpy()
        weights = shares_of(agreement)
        self.set_report(weights)
        return gradients.t() @ torch.as_tensor(weights, dtype=gradients.dtype)

    def further(self) -> tuple[Tensor, Tensor]:
        return self.present_rows(1), self.present_rows(2)


class Perturbing(GradientCombining):
    """The mean of the gradients a step of fixed length further along each task's own."""

    name = "planted"
    summary = "gradients at perturbed points"
    perturbs = True
    rescales = True

    def second_pass(self) -> None:
        rows = [self.row(k) for k in sorted(self.present)]
        self._ahead = [self.ahead(k, self.offset_of(row)) for k, row in zip(sorted(self.present), rows, strict=True)]

    def offset_of(self, row: Tensor) -> Tensor:
        norm = torch.linalg.vector_norm(row)
        return 0.05 * row / norm if norm > 0 else torch.zeros_like(row)

    def ahead(self, k: int, offset: Tensor) -> Tensor:
        gradient, _ = self.gradient_at(k, offset)
        return gradient.clone()

    def combine_gradients(self, gradients: Tensor, losses: np.ndarray) -> Tensor:
        return torch.stack(self._ahead).mean(0)


class Sampling(Average):
    """More queries of the tasks whose losses have been high."""

    def shares(self) -> Sequence[float] | None:
        return [float(v) for v in shares_of(self.average**0.5)]


class Numbered(LossWeighting):
    """Fixed weights by name."""

    name = "planted"
    summary = "a number per task"
    conformance: ClassVar[dict[str, Any]] = {"numbers": "task0:2"}

    numbers: PerTask = hyper("", per_task=True, ge=0)

    def weights_before(self) -> list[float]:
        return list(shares_of(self.per_task("numbers")))
