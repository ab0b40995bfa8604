"""GradNorm: tasks are weighted so that they train at similar rates."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from mtbench.optim import Cost, Layout, LossWeighting, hyper, reset_field
from mtbench.optim.chunks import chunk_size
from mtbench.optim.gram import CHUNK
from mtbench.optim.scalars import TaskAdam


class GradNorm(LossWeighting):
    """The weights w_k follow the gradient of a loss on the norms of the weighted task gradients.

    Chen et al., "GradNorm: Gradient Normalization for Adaptive Loss Balancing in Deep Multitask Networks", ICML 2018,
    Eq. 1, 2 and Algorithm 1. With n_k the norm of g_k over the parameters W (``layer``), G_k = w_k n_k and

        r_k = (l_k / l_k(0)) / mean_j (l_j / l_j(0)),    L_grad = sum_k |G_k - mean(G) r_k^alpha|  (target constant)

    u = (1/K) sum_k w_k g_k with the weights before the step; then w follows dL_grad/dw_k = n_k sign(G_k - target_k),
    is kept above 0.001 and renormalised to sum K. No second backward pass, no rows: the norms come one at a time.

    l_k(0) is the running mean of the task's first losses, since a single contrastive batch is noisy. Plain gradient
    descent (``sgd``) divides the derivative by the mean norm; Adam needs no scale. ``compat="taco"`` is the authors'
    code, whose weights never reach an optimizer: the plain sum, for ever.

    A task whose gradient is 0 for ever (a frozen one) is below its target whatever its weight, so it takes nearly all
    of it, and the others hardly move.
    """

    name = "gradnorm"
    summary = "weights that let all tasks train at similar rates"
    paper = "Chen et al., GradNorm: Gradient Normalization for Adaptive Loss Balancing, ICML 2018"
    frozen_task = "with it gradnorm gives nearly all weight to the task without a gradient, and little is learnt"
    cost: ClassVar[Cost] = "norms"
    state = ("task_weights", "adam", "first_losses", "first_counts")

    alpha: float = hyper(1.5, ge=0, search=(0.1, 3, "log"), help="how strongly slow tasks are pulled")
    lr: float = hyper(0.025, gt=0, search=(0.0025, 0.25, "log"), help="step size of the weights")
    weight_optimizer: Literal["adam", "sgd"] = hyper("adam", help="what moves the weights")
    layer: Literal["last_block", "all"] = hyper("last_block", help="the parameters W whose gradient norms are compared")
    initial_loss_steps: int = hyper(50, ge=1, help="l(0) is the mean of so many first losses")
    compat: Literal["none", "taco"] = hyper("none", help="taco: weights that never move, and the plain sum")
    reset_on_episode: bool = reset_field()

    def init_state(self) -> None:
        self.task_weights = np.ones(self.num_tasks)
        self.adam = TaskAdam(self.num_tasks, self.lr).state_dict()
        self.first_losses, self.first_counts = np.zeros(self.num_tasks), np.zeros(self.num_tasks)

    def begin_episode(self) -> None:
        whole = [(0, self.theta.numel())]
        self._segments = last_block(self.layout) or whole if self.layer == "last_block" and self.layout else whole

    def weights_before(self) -> list[float]:
        if self.compat == "taco":
            return [1.0] * self.num_tasks
        return [float(w) for w in self.task_weights / self.num_tasks]

    def open_step(self, losses: Sequence[float] | None) -> None:
        super().open_step(losses)
        self._squares: dict[int, Tensor] = {}

    def add_task(self, k: int, gradient: Tensor) -> None:
        super().add_task(k, gradient)
        size = chunk_size(gradient.device, CHUNK)  # no copy of it all in float64
        chunks = (c for a, b in self._segments for c in gradient[a:b].split(size))
        self._squares[k] = (
            torch.stack([torch.linalg.vector_norm(c, dtype=torch.float64) for c in chunks]).square().sum()
        )

    def observe(self, losses: np.ndarray) -> None:
        squares = self.reduce_sum(torch.stack([self._squares[k] for k in self.tasks]))
        norms = squares.sqrt().cpu().numpy()
        self._report["norms"] = [float(n) for n in norms]
        if self.compat == "taco":
            return
        first = self.first_counts[self.tasks] < self.initial_loss_steps
        self.first_losses[self.tasks] += np.where(first, losses, 0.0)
        self.first_counts[self.tasks] += first
        initial = self.first_losses[self.tasks] / self.first_counts[self.tasks]
        derivative, _ = norm_loss_derivative(self.task_weights[self.tasks], norms, losses, initial, self.alpha)
        if norms.any():
            self._move(derivative, norms.mean())

    def _move(self, derivative: np.ndarray, mean_norm: float) -> None:
        """Step, keep above 0.001, and give the present tasks the sum that they had together."""
        old = self.task_weights[self.tasks]
        if self.weight_optimizer == "sgd":
            new = old - self.lr * derivative / mean_norm
        else:
            adam = TaskAdam(self.num_tasks, self.lr)
            adam.load_state_dict(self.adam)
            new = old + adam.change(derivative, self.tasks)
            self.adam = adam.state_dict()
        new = np.maximum(new, 1e-3)
        self.task_weights[self.tasks] = new * (old.sum() / new.sum())


def norm_loss_derivative(
    weights: np.ndarray, norms: np.ndarray, losses: np.ndarray, initial: np.ndarray, alpha: float
) -> tuple[np.ndarray, float]:
    """The derivative of L_grad by the weights (n,), in closed form, and L_grad.

    A task on its target, up to rounding, stays. Losses at or below 0 count as a 100-millionth of the largest.
    """
    least = 1e-8 * max(np.abs(losses).max(), np.abs(initial).max()) or 1.0
    ratios = np.maximum(losses, least) / np.maximum(initial, least)
    weighted = weights * norms
    off = weighted - weighted.mean() * (ratios / ratios.mean()) ** alpha
    off[np.abs(off) <= 1e-12 * weighted.mean()] = 0.0
    return norms * np.sign(off), float(np.abs(off).sum())


def last_block(layout: Layout) -> list[tuple[int, int]]:
    """The segments of the last transformer block and of the norm after it, for each stack of blocks in the model.

    A block is a numbered module (``decoder.block.11`` in T5, ``encoder.layer.11`` in BERT). Where a model has an
    encoder and a decoder, the decoder is last. Empty if no module is numbered.
    """
    numbered = [re.match(r"(.*?)\.?([^.]*)\.(\d+)\.", name) for name, _, _ in layout]
    stacks: dict[tuple[str, str], int] = {}
    for found in numbered:
        if found:
            stack = (found[1], found[2])
            stacks[stack] = max(stacks.get(stack, 0), int(found[3]))
    parents = {parent for parent, _ in stacks}
    chosen = []
    for (parent, kind), number in stacks.items():
        decoder = re.sub(r"encoder$", "decoder", parent)
        if decoder != parent and decoder in parents:
            continue
        inside = f"{parent}.{kind}.{number}.".lstrip(".")
        after = re.compile(re.escape(f"{parent}." if parent else "") + r"[^.]*(norm|ln)[^.]*\.[^.]*$", re.IGNORECASE)
        chosen += [(a, b) for name, a, b in layout if name.startswith(inside) or after.match(name)]
    return sorted(chosen)
