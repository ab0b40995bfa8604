"""The training loop of one stage (the warm-up or one episode) on one flat gradient buffer.

Tasks are the outer loop and micro-batches the inner one: the graph of one task lives at a time. Each task's flat
gradient is given to the multitask optimizer, its update is clipped and handed to Adam. The loop is the same for every
method, so that methods differ in nothing but the combination.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from mtbench import interrupts
from mtbench.config import Config
from mtbench.errors import RunError
from mtbench.model.encoder import DualEncoder
from mtbench.model.flat import FlatParameters
from mtbench.optim.contract import MultitaskOptimizer
from mtbench.optim.states import OptimizerState
from mtbench.training.base import BaseOptimizer
from mtbench.training.diagnostics import (
    Journal,
    LoggedStep,
    Phases,
    StageSummary,
    cosines,
    forget_peak,
    named,
    peak_memory,
    what_to_do_about_it,
)
from mtbench.training.examples import TrainingData
from mtbench.training.forward import TaskForward
from mtbench.training.gradients import TaskGradients
from mtbench.training.naive_step import NaiveStep, clip, largest_norm
from mtbench.training.ownership import Ownership
from mtbench.training.ranks import Ranks
from mtbench.training.reading import Reader
from mtbench.training.sharding import Shard
from mtbench.training.state_files import load_state, save_state
from mtbench.training.union import UnionForward
from mtbench.training.validation import Validator

MAX_SKIPPED_IN_A_ROW = 25
"""A loss that stays non-finite for so many steps will not recover."""


@dataclass(frozen=True)
class Episode:
    """What is trained: which episode (0 is the warm-up), for how many steps, from which learning rate."""

    number: int
    steps: int
    learning_rate: float
    seed: int
    carried: OptimizerState | None = None
    """The method's whole state from the episode before, where it keeps it."""
    first: int = 0
    """The first episode in which the method acts."""


StepListener = Callable[[int, int, dict[str, float]], None]
"""Called with (steps done, steps in all, loss per task)."""


class Trainer:
    """Trains ``model`` in place. ``work`` keeps the checkpoint from which an interrupted stage goes on."""

    def __init__(
        self,
        model: DualEncoder,
        data: TrainingData,
        optimizer: MultitaskOptimizer,
        episode: Episode,
        config: Config,
        work: Path,
        ranks: Ranks | None = None,
    ) -> None:
        self.examples, self.order, self.optimizer = data.examples, data.order, optimizer
        self.episode, self.config, self.checkpoint = episode, config, work / "checkpoint"
        self.ranks = ranks or Ranks()
        self.listener: StepListener = _tell_nobody
        self.model = model.train()
        self.flat = FlatParameters(model, model.owners, {example.place for example in data.examples})
        self.device = self.flat.theta.device
        self.shard = Shard(self.flat, self.ranks, config.train.shard_state and optimizer.shardable)
        self.update = self.flat.theta.new_zeros(self.shard.size)
        self.naive = NaiveStep(self.shard, optimizer)
        self.reader = Reader(data, optimizer, config)
        self.journal = Journal(self.order.names)
        self.phases = Phases(self.device)
        forward = TaskForward(model, data.padding, self.device, config, self.ranks)
        self.gradients = TaskGradients(forward, self.shard, data, optimizer, self.naive, self.update, self.phases)
        if config.train.mixing == "union":
            self.gradients.union = UnionForward(forward, data.examples)
        self.ownership = Ownership()
        self.validator: Validator | None = None
        """Looks at the model now and then, where somebody wants that."""
        self._skipped_in_a_row = 0
        self._start_optimizer()
        self.base = BaseOptimizer(self.shard, self.update, config.train)

    def run(self, listener: StepListener | None = None) -> StageSummary:
        """Train to the end of the stage; the summary that goes into the record. RunError if losses stay non-finite."""
        self.listener = listener or _tell_nobody
        first = self._restore()
        forget_peak(self.device)
        self.shard.check_equal(self.optimizer, first, self.episode.number)
        for step in range(first, self.episode.steps):
            interrupts.check()
            self._step(step)
            done = step + 1
            if done % self.config.train.check_ranks_every == 0 or done == self.episode.steps:
                self.shard.check_equal(self.optimizer, done, self.episode.number)
            if self.validator is not None and self.validator.is_due(done, self.episode.steps):
                self.model.eval()
                self.validator.look(done)
                self.model.train()
            if done % self.config.train.checkpoint_every == 0 and done < self.episode.steps:
                self._save(done)
        self.model.eval()
        if self.validator is not None:
            self.validator.finish()
        return self._summary()

    # -- one step ----------------------------------------------------------------------------------------------

    def _step(self, step: int) -> None:
        train = self.config.train
        logged = step % train.log_every == 0 or step == self.episode.steps - 1
        self.phases.exact = self.device.type != "cuda" or logged
        with self.phases("batch"):
            batches = self.reader.read(step)
        whole = len(batches.tasks) == len(self.examples)
        diagnosed = whole and train.cosines_every > 0 and step % train.cosines_every == 0
        self.naive.begin(logged or train.clip_norm == "naive")
        norms, rows = self.gradients.step(step, batches, logged, diagnosed)
        with self.phases("combine"):
            counts = self.optimizer.finish(self.update[: self.shard.num_shared])
        numbers = self._apply(step, counts, batches.drawn, logged)
        if self.optimizer.uses_after_step:
            with self.phases("after_step"):
                self.optimizer.after_step(lambda: self.gradients.losses(step, batches))
        milliseconds = self.phases.end_step()
        if logged or diagnosed:
            if logged:
                self._note_commitment(numbers)
            self._log(step, norms, rows, numbers, milliseconds)
        losses = {self.order.names[k]: self.optimizer.losses[k] for k in batches.tasks}
        self.listener(step + 1, self.episode.steps, losses)

    def _apply(self, step: int, counts: bool, drawn: int, logged: bool) -> LoggedStep:
        """Clip and take Adam's step, or skip it; the numbers that are logged."""
        with self.phases("update"):
            norm = self.shard.norm(self.update) if counts else math.nan
        if not math.isfinite(norm):
            return self._skip(step, counts)
        self._skipped_in_a_row = 0
        naive, naive_norm = self.naive.finish(self.update) or (None, math.nan)
        limit = largest_norm(self.config.train.clip_norm, naive_norm)
        with self.phases("update"):
            clipped = clip(self.update, norm, limit)
        numbers: LoggedStep = {
            "norm_before_clip": norm,
            "norm_after_clip": min(norm, limit),
            "clipped": clipped,
        }
        if naive is not None and logged:
            clip(naive, naive_norm, limit)
            numbers["step_difference"] = self.base.step_difference(naive)
        with self.phases("update"):
            self.base.step(self.learning_rate(step))
        self.journal.count(clipped, self.optimizer.counts(), drawn, norm)
        return numbers

    def _skip(self, step: int, counts: bool) -> LoggedStep:
        """Leave the weights as they are; ``counts``: whether the method itself found nothing wrong. RunError if too
        many steps in a row came to this."""
        if counts:  # parameters of one task only, or a method's own overflow
            self.optimizer.skipped_steps += 1
        self._skipped_in_a_row += 1
        if self._skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW:
            finite = bool(torch.isfinite(self.flat.theta).all())
            raise RunError(
                f"step {step} of episode {self.episode.number}: the loss or a gradient was not finite for "
                f"{MAX_SKIPPED_IN_A_ROW} steps in a row"
                + what_to_do_about_it(self.episode.number, self.journal.steps, finite)
            )
        return {"skipped": True}

    def learning_rate(self, step: int) -> float:
        """Linear warm-up over the first ``lr_warmup`` of the steps, then linear decay to 0."""
        warm = int(self.config.train.lr_warmup * self.episode.steps)
        rising = (step + 1) / warm if step < warm else 1.0
        falling = (self.episode.steps - step) / max(1, self.episode.steps - warm)
        return self.episode.learning_rate * min(rising, falling)

    def _log(
        self, step: int, norms: list[float], rows: Tensor | None, numbers: LoggedStep, milliseconds: dict[str, float]
    ) -> None:
        report, names = self.optimizer.report(), self.order.names
        weights, losses = report.pop("weights"), list(self.optimizer.losses)
        by_task = cast("LoggedStep", named(names, losses=losses, gradient_norms=norms, weights=weights))
        entry: LoggedStep = {"step": step, "lr": self.learning_rate(step), **by_task, **numbers}
        if rows is not None:
            table, conflicts = cosines(rows, self.optimizer.reduce_sum, self.optimizer.reduce_max)
            entry["cosines"] = [[round(float(c), 4) for c in row] for row in table]
            entry["conflict_rate"] = conflicts
        self.journal.entries.append({**entry, "report": report, "ms": milliseconds})

    def _note_commitment(self, numbers: LoggedStep) -> None:
        importances = self.optimizer.importances()
        if importances is not None:
            rate = self.ownership.look(importances, self.optimizer.reduce_sum)
            if rate is not None:
                numbers["commitment_rate"] = rate

    # -- set-up, checkpoints -------------------------------------------------------------------------------------

    def _start_optimizer(self) -> None:
        if self.episode.carried is not None:
            self.optimizer.load_state_dict(self.shard.scatter(self.episode.carried))
        self.optimizer.first_episode = self.episode.first
        theta, layout = self.shard.start(self.optimizer)
        self.optimizer.start(
            theta,
            len(self.examples),
            self.episode.steps,
            seed=self.episode.seed,
            task_sizes=[len(r) for r in self.order.rows],
            layout=layout,
            episode=self.episode.number,
            task_names=self.order.names,
        )

    def optimizer_state(self) -> OptimizerState:
        """The multitask optimizer's whole state, on rank 0; all ranks call it."""
        state: OptimizerState = self.shard.gather(self.optimizer.state_dict())
        return state

    def _save(self, done: int) -> None:
        state = {
            "step": done,
            "cursor": self.reader.cursor,
            "theta": self.flat.theta,
            "base": self.base.state(),
            "optimizer": self.optimizer_state(),
            "journal": self.journal.state(),
            "owners": self.shard.gather(self.ownership.owners),
            "phases": self.phases.totals,
            **({} if self.validator is None else {"validation": self.validator.state()}),
        }
        if self.ranks.rank == 0:
            save_state(self.checkpoint, state)

    def _restore(self) -> int:
        if self.ranks.rank == 0:
            load_state(self.checkpoint)  # puts a checkpoint right that was interrupted between two renames
        self.ranks.barrier()
        state = load_state(self.checkpoint)
        if state is None or "base" not in state:  # of before November 2026: the stage begins anew
            return 0
        self.flat.theta.copy_(state["theta"])
        self.reader.cursor = state["cursor"]
        self.base.load(state["base"])
        self.optimizer.load_state_dict(self.shard.scatter(state["optimizer"]))
        self.journal.restore(state["journal"])
        self.ownership.restore(self.shard.scatter(state.get("owners")), self.device)
        self.phases.totals = state["phases"]
        if self.validator is not None:
            self.validator.restore(state["validation"])
        return int(state["step"])

    def _summary(self) -> StageSummary:
        medians = self.phases.medians()
        journal, report = self.journal, self.optimizer.report()
        summary: StageSummary = {
            "optimizer": self.optimizer.name,
            "params": self.optimizer.params,
            "steps": self.episode.steps,
            "skipped_steps": self.optimizer.skipped_steps,
            "clipped_share": round(journal.clipped / max(1, journal.steps), 4),
            "step_difference": journal.step_difference,
            "solver_fallbacks": journal.fallbacks,
            "drawn_negatives": journal.drawn_negatives,
            "update_digest": journal.digest,
            "optimizer_state_bytes": self.optimizer.state_bytes(),
            "num_parameters": self.flat.theta.numel(),
            "phase_ms": medians,
            "step_ms": round(sum(medians.values()), 3),
            "peak_memory_bytes": peak_memory(self.device),
            "task_batch_sizes": dict(zip(self.order.names, self.order.sizes, strict=True)),
            "queries": dict(zip(self.order.names, self.reader.cursor, strict=True)),
            "report": report,
        }
        if self.validator is not None:
            summary["validation"] = self.validator.curve
        if "temperature" in report:
            summary["temperature"] = float(report["temperature"])
        if self.ranks.size > 1:
            summary["ranks"], summary["sharded"] = self.ranks.size, self.shard.active
        return summary


def _tell_nobody(done: int, total: int, losses: dict[str, float]) -> None:
    """Where nobody listens."""
