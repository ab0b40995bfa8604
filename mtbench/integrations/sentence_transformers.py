"""Multitask optimizers in sentence-transformers' trainer (``pip install 'mtbench[st]'``).

    args = SentenceTransformerTrainingArguments(
        "out", gradient_accumulation_steps=2, multi_dataset_batch_sampler="round_robin", dataloader_drop_last=True
    )
    trainer = MultitaskTrainer(
        model=model, args=args, train_dataset={"nq": nq, "fever": fever},
        loss={"nq": MultipleNegativesRankingLoss(model), "fever": MultipleNegativesRankingLoss(model)},
        multitask="pcgrad",
    )
    trainer.train()

One batch of each data set in turn makes one step: K batches in a window of gradient accumulation, each driven back by
itself, and their gradients combined before clipping and the optimizer's step. Under torchrun each process has its own
batch of the same task, and gradients are averaged over processes before they are combined.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, DatasetDict
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
from sentence_transformers.base.sampler import MultiDatasetBatchSamplers, RoundRobinBatchSampler
from torch import distributed, nn
from transformers import TrainerCallback

from mtbench.errors import ConfigError, UsageError
from mtbench.optim.contract import MultitaskOptimizer
from mtbench.optim.step import MultitaskStep, average_over_ranks, scale_of
from mtbench.training.state_files import load_state, save_state

STATE = "multitask_optimizer"
"""The folder in a checkpoint that holds the method's state."""


class RoundRobinInRuns(RoundRobinBatchSampler):
    """Round robin that yields as many batches of a task in a row as there are processes.

    Batches are dealt to processes in turn. In the library's own order process r would then see only the tasks that
    equal r modulo gcd(K, processes); in this one all see the same task at a time, each a batch of its own.
    """

    def __init__(self, *args: Any, processes: int, **options: Any) -> None:
        super().__init__(*args, **options)
        self.processes = processes

    def __iter__(self) -> Iterator[list[int]]:
        if self.generator and self.seed is not None:
            self.generator.manual_seed(self.seed + self.epoch)
        offsets = [0, *self.dataset.cumulative_sizes]
        streams = [iter(sampler) for sampler in self.batch_samplers]
        while True:
            runs = [list(itertools.islice(stream, self.processes)) for stream in streams]
            if any(len(run) < self.processes for run in runs):
                return
            for offset, run in zip(offsets, runs, strict=False):
                yield from ([index + offset for index in batch] for batch in run)

    def __len__(self) -> int:
        rounds = min(len(sampler) for sampler in self.batch_samplers) // self.processes
        return rounds * self.processes * len(self.batch_samplers)


class MultitaskTrainer(SentenceTransformerTrainer):
    """:class:`SentenceTransformerTrainer` with one more argument: ``multitask``, a method's name or an object.

    ``train_dataset``: a dict of K data sets, one per task; ``loss``: a dict with the same keys (only then does a batch
    say which data set it is of). Required of ``args``: ``gradient_accumulation_steps=K``, the round-robin sampler,
    ``dataloader_drop_last=True``. ``multitask_params``: hyperparameters of a named method.

    The update equals that of mtbench's own loop. Clipping acts on the combined gradient, and the logged ``grad_norm``
    is its norm before clipping. A step whose loss or gradient is not finite leaves the parameters alone. Parameters of
    a loss (a classifier, say) are not combined: they get their gradient over K. Logs have ``loss/TASK`` and
    ``weight/TASK``; checkpoints hold the method's state, and ``resume_from_checkpoint`` goes on from it.

    Several processes (torchrun): a task's batch is theirs together, and negatives are those of each one's own part.
    Raises ConfigError for DeepSpeed and sharded models, for methods that need the batch again after the step, and for
    arguments that do not fit.
    """

    # the trainer would divide the losses by K, and with them the gradients: combining does that
    loss_is_scaled_for_ga = True

    def __init__(
        self,
        model: SentenceTransformer,
        *,
        multitask: str | MultitaskOptimizer = "naive",
        multitask_params: dict[str, Any] | None = None,
        train_dataset: dict[str, Dataset] | DatasetDict,
        loss: dict[str, Any],
        **options: Any,
    ) -> None:
        train_dataset = train_dataset if isinstance(train_dataset, DatasetDict) else DatasetDict(train_dataset)
        self._tasks = list(train_dataset)
        self._sizes = [len(rows) for rows in train_dataset.values()]
        super().__init__(model, train_dataset=train_dataset, loss=loss, **options)
        self._check(loss)
        self._method, self._method_params = multitask, multitask_params or {}
        self._builds_training_data = False
        self._forget()
        self.add_callback(_SaveMethod(self))

    def _check(self, loss: dict[str, Any]) -> None:
        args, count = self.args, len(self._tasks)
        problems = []
        if set(loss) != set(self._tasks):
            problems.append(f"loss has the keys {sorted(loss)}, train_dataset {sorted(self._tasks)}: give the same")
        if args.gradient_accumulation_steps != count:
            problems.append(f"gradient_accumulation_steps={args.gradient_accumulation_steps}: {count}, one per task")
        if args.multi_dataset_batch_sampler != MultiDatasetBatchSamplers.ROUND_ROBIN:
            problems.append("multi_dataset_batch_sampler must be 'round_robin', so that a window has every task once")
        if not args.dataloader_drop_last:
            problems.append("dataloader_drop_last must be True, so that all batches of a task are equally large")
        if self.is_deepspeed_enabled or self.is_fsdp_enabled:
            problems.append("DeepSpeed and sharded models are not supported: each process needs whole gradients")
        if args.n_gpu > 1:
            problems.append("DataParallel over several GPUs is not supported: start one process per GPU with torchrun")
        dealt: Any = args.accelerator_config
        if dealt.split_batches or dealt.dispatch_batches:
            problems.append("split_batches and dispatch_batches must be off: batches are dealt to processes whole")
        if problems:
            raise ConfigError("MultitaskTrainer: " + "; ".join(problems))

    def _forget(self) -> None:
        self._multitask: MultitaskStep | None = None
        self._own: list[nn.Parameter] = []
        self._window: list[str] = []
        self._sums: dict[str, list[float]] = defaultdict(list)

    @property
    def multitask(self) -> MultitaskStep:
        """The method at work; made at the first step, when the number of steps is known."""
        if self._multitask is None:
            model = self.accelerator.unwrap_model(self.model_wrapped)
            average = average_over_ranks if self.args.world_size > 1 else None
            self._multitask = MultitaskStep(
                self._method,
                model.named_parameters(),
                self._tasks,
                self.state.max_steps,
                seed=self.args.seed,
                task_sizes=self._sizes,
                reduce=average,
                reduce_loss=average,
                **self._method_params,
            )
            if self._multitask.optimizer.uses_after_step:
                name = self._multitask.optimizer.name
                raise ConfigError(f"MultitaskTrainer: {name} needs the losses of the same batches after each step")
            self._own = self._parameters_of_losses(model)
        return self._multitask

    def _parameters_of_losses(self, model: nn.Module) -> list[nn.Parameter]:
        """The parameters of losses that the model does not have; made equal on all processes."""
        shared = {id(p) for p in model.parameters()}
        found = {id(p): p for loss in self.loss.values() for p in loss.parameters() if p.requires_grad}
        own = [p for place, p in found.items() if place not in shared]
        if self.args.world_size > 1:
            for p in own:
                distributed.broadcast(p.data, 0)
        return own

    # -- one step --------------------------------------------------------------------------------------------------

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """One task's batch; the last of a window combines. Returns the loss over K, so that the log has the mean."""
        step, task = self.multitask, _name_of(inputs["dataset_name"])
        self._require_one_task(task)
        if not self._window:
            step.begin()
        step.point(task)
        with self.accelerator.no_sync(model):  # the method's own gradients are averaged, each whole, before combining
            loss = super().training_step(model, inputs, num_items_in_batch)
        step.take(loss, scale=scale_of(self.accelerator.scaler))
        self._window.append(task)
        if self.accelerator.sync_gradients:
            step.finish()
            self._finish_own(step)
            self._window = []
            self._note(step)
        return loss / len(self._tasks)

    def _require_one_task(self, task: str) -> None:
        """UsageError, on all processes, if they have batches of different tasks."""
        if self.args.world_size == 1:
            return
        place = self._tasks.index(task)
        ends = torch.tensor([place, -place], device=self.args.device)
        distributed.all_reduce(ends, distributed.ReduceOp.MAX)
        if ends[0] != -ends[1]:
            raise UsageError(
                f"the processes have batches of different tasks at one time, this one of {task!r}: batches must come "
                "in runs of one for each process, as RoundRobinInRuns orders them"
            )

    def _finish_own(self, step: MultitaskStep) -> None:
        """Parameters of losses: their gradients, which added up over the window, in the form of the update."""
        for p in self._own:
            if p.grad is None and self.args.world_size > 1:
                p.grad = torch.zeros_like(p)
            if p.grad is None:
                continue
            if step.optimizer.scale == "mean":
                p.grad.div_(len(self._window))
            if self.args.world_size > 1:
                average_over_ranks(p.grad)
            if scale_of(self.accelerator.scaler) is None and (step.skipped or not p.grad.isfinite().all()):
                p.grad = None

    def _note(self, step: MultitaskStep) -> None:
        """Losses, over all processes, and weights of a step, for the log."""
        for task, loss, weight in zip(
            self._tasks, step.optimizer.losses, step.report()["weights"].values(), strict=True
        ):
            if math.isfinite(loss):
                self._sums[f"loss/{task}"].append(loss)
            self._sums[f"weight/{task}"].append(weight)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """With the means of losses and weights by task since the last log."""
        if "loss" in logs:
            logs = {**logs, **{name: round(sum(v) / len(v), 6) for name, v in self._sums.items()}}
            self._sums.clear()
        super().log(logs, start_time)

    # -- what the trainer calls --------------------------------------------------------------------------------------

    def get_train_dataloader(self) -> Any:
        """The library's own, with :class:`RoundRobinInRuns` for the order."""
        self._builds_training_data = True
        try:
            return super().get_train_dataloader()
        finally:
            self._builds_training_data = False

    def get_multi_dataset_batch_sampler(self, dataset: Any, batch_samplers: Any, *args: Any, **options: Any) -> Any:
        """For training batches in runs of one for each process; for evaluation the library's own order."""
        if not self._builds_training_data:
            return super().get_multi_dataset_batch_sampler(dataset, batch_samplers, *args, **options)
        return RoundRobinInRuns(dataset, batch_samplers, *args, processes=self.args.world_size, **options)

    def _inner_training_loop(self, *args: Any, **options: Any) -> Any:
        """Each training, and each attempt of ``auto_find_batch_size``, begins with a fresh method."""
        self._forget()
        return super()._inner_training_loop(*args, **options)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        state = load_state(Path(checkpoint) / STATE)
        if state is None:
            raise ConfigError(
                f"MultitaskTrainer: {checkpoint} has no folder {STATE}: it is not a checkpoint of this trainer\n"
                "  To start from its weights, load them into the model and train without resume_from_checkpoint."
            )
        self.multitask.load_state_dict(state)


class _SaveMethod(TrainerCallback):
    """Writes the method's state, which all processes have alike, into each checkpoint."""

    def __init__(self, trainer: MultitaskTrainer) -> None:
        self._trainer = trainer

    def on_save(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if args.should_save and folder.is_dir():
            save_state(folder / STATE, self._trainer.multitask.state_dict())


def _name_of(value: Any) -> str:
    """The collator gives the data set's name, or one per row."""
    return str(value[0] if isinstance(value, list) else value)
