"""Fine-tuning the reader: one loss over the words of the answers, Adam, and a checkpoint to go on from.

The batches are a pure function of seed and step, and each rank takes its rows of every batch; losses are divided by the
words of the whole batch, so that sums over ranks equal one process with the whole batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mtbench import interrupts
from mtbench.config import ReaderConfig
from mtbench.reader.texts import IGNORED, Asked, ReaderTexts
from mtbench.training.ranks import Ranks
from mtbench.training.state_files import load_state, save_state
from mtbench.training.streams import stream, stream_seed

Progress = Callable[[int, int, float], None]
"""Steps done, steps in all, the loss."""


@dataclass(frozen=True)
class Lesson:
    """What a reader learns from: ``count`` examples, each a query with its passages and an answer, by number.

    ``name`` and ``seed`` are all that the order depends on. ``depth``: how many passages stand behind the queries of a
    step, None for all.
    """

    name: str
    count: int
    example: Callable[[int], tuple[Asked, str]]
    seed: int
    steps: int
    depth: Callable[[int], int | None] = lambda step: None


class ReaderTrainer:
    """Trains ``model`` in place; :meth:`run` goes on from the checkpoint in ``folder`` if there is one."""

    def __init__(
        self,
        model: Any,
        texts: ReaderTexts,
        settings: ReaderConfig,
        folder: Path,
        ranks: Ranks,
        device: torch.device,
    ) -> None:
        self.model, self.texts, self.settings = model.to(device), texts, settings
        self.folder, self.ranks, self.device = folder, ranks, device
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        assert settings.lr is not None
        self.adam = torch.optim.AdamW(self.parameters, lr=settings.lr, weight_decay=settings.weight_decay)
        self.losses: list[float] = []

    def run(self, lesson: Lesson, progress: Progress) -> float:
        """Learn a lesson; the mean loss of its last tenth."""
        self.model.train()
        if self.settings.gradient_checkpointing:
            self.model.gradient_checkpointing_enable()
        first = self._resume()
        for step in range(first, lesson.steps):
            interrupts.check()
            loss = self._step(lesson, step)
            self.losses.append(loss)
            progress(step + 1, lesson.steps, loss)
            if (step + 1) % self.settings.checkpoint_every == 0 and step + 1 < lesson.steps:
                self._save(step + 1)
        if self.settings.gradient_checkpointing:
            self.model.gradient_checkpointing_disable()
        last = self.losses[-max(1, lesson.steps // 10) :]
        return sum(last) / len(last)

    def _step(self, lesson: Lesson, step: int) -> float:
        rows = batch_rows(lesson, step, self.settings.batch_size)
        depth, examples = lesson.depth(step), [lesson.example(int(row)) for row in rows]
        labels = self.texts.targets([answer for _, answer in examples])
        words = int((labels != IGNORED).sum())
        mine = self.ranks.share(len(rows))
        total = torch.zeros(1, dtype=torch.float64)
        self.adam.zero_grad(set_to_none=False)
        if mine.stop > mine.start:
            asked = [cut(one, depth) for one, _ in examples[mine]]
            loss = self._loss(asked, labels[mine], (lesson.seed, lesson.name, step)) / words
            loss.backward()
            total += float(loss.detach())
        self._sum_gradients()
        if self.settings.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.settings.clip_norm)
        for group in self.adam.param_groups:
            group["lr"] = self._rate(step, lesson.steps)
        self.adam.step()
        return float(self.ranks.all_reduce(total))

    def _loss(self, asked: Sequence[Asked], labels: Tensor, place: tuple[int, str, int]) -> Tensor:
        """Cross-entropy summed over the words of the answers."""
        ids, mask = self.texts.sources(asked)
        torch.manual_seed(stream_seed("reader dropout", *place, self.ranks.rank))
        with self._autocast():
            found = self.model(
                input_ids=ids.to(self.device), attention_mask=mask.to(self.device), labels=labels.to(self.device)
            ).logits
        return torch.nn.functional.cross_entropy(
            found.float().flatten(0, 1), labels.to(self.device).flatten(), ignore_index=IGNORED, reduction="sum"
        )

    def _autocast(self) -> AbstractContextManager[object]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.precision == "bf16")

    def _sum_gradients(self) -> None:
        if self.ranks.size == 1:
            return
        for parameter in self.parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            self.ranks.all_reduce(parameter.grad)

    def _rate(self, step: int, steps: int) -> float:
        """Linear up and down again."""
        assert self.settings.lr is not None
        rising = max(1, round(self.settings.lr_warmup * steps))
        if step < rising:
            return self.settings.lr * (step + 1) / rising
        return self.settings.lr * (steps - step) / max(1, steps - rising)

    def _save(self, done: int) -> None:
        if self.ranks.rank == 0:
            weights = {str(i): p.data for i, p in enumerate(self.parameters)}
            state = {"done": done, "weights": weights, "adam": self.adam.state_dict(), "losses": self.losses}
            save_state(self.folder, state)
        self.ranks.barrier()

    def _resume(self) -> int:
        """Steps that an earlier attempt has done."""
        state = load_state(self.folder)
        if state is None:
            return 0
        with torch.no_grad():
            for i, parameter in enumerate(self.parameters):
                parameter.copy_(state["weights"][str(i)])
        self.adam.load_state_dict(state["adam"])
        self.losses = list(state["losses"])
        return int(state["done"])


def batch_rows(lesson: Lesson, step: int, size: int) -> np.ndarray:
    """The examples of one step ``(size,)``: a new order each time round, a pure function of the lesson and the step."""
    positions = np.arange(step * size, (step + 1) * size)
    rounds = positions // lesson.count
    return np.concatenate(
        [
            _order(lesson.seed, lesson.name, int(r), lesson.count)[positions[rounds == r] % lesson.count]
            for r in np.unique(rounds)
        ]
    )


def steps_of(settings: ReaderConfig, count: int) -> int:
    """Steps over ``count`` examples."""
    return settings.steps or max(1, math.ceil(settings.epochs * count / settings.batch_size))


def cut(asked: Asked, depth: int | None) -> Asked:
    """With the first ``depth`` passages alone."""
    if depth is None or depth >= len(asked.passages):
        return asked
    return Asked(asked.text, asked.prompt, asked.passages[:depth], asked.keeps_end)


@lru_cache(maxsize=4)
def _order(seed: int, name: str, number: int, count: int) -> np.ndarray:
    """The order of one time round."""
    return stream("reader order", seed, name, number).permutation(count)
