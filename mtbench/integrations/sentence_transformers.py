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
itself, and their gradients combined before clipping and the optimizer's step.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, DatasetDict
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
from sentence_transformers.training_args import MultiDatasetBatchSamplers
from transformers import TrainerCallback

from mtbench.errors import ConfigError
from mtbench.optim.contract import MultitaskOptimizer
from mtbench.optim.step import MultitaskStep, scale_of

STATE_FILE = "multitask_optimizer.pt"


class MultitaskTrainer(SentenceTransformerTrainer):
    """:class:`SentenceTransformerTrainer` with one more argument: ``multitask``, a method's name or an object.

    ``train_dataset``: a dict of K data sets, one per task; ``loss``: a dict with the same keys (only then does a batch
    say which data set it is of). Required of ``args``: ``gradient_accumulation_steps=K``, the round-robin sampler,
    ``dataloader_drop_last=True``. ``multitask_params``: hyperparameters of a named method.

    The update equals that of mtbench's own loop. Clipping acts on the combined gradient, and the logged ``grad_norm``
    is its norm before clipping. A step whose loss or gradient is not finite leaves the parameters alone. Logs have
    ``loss/TASK`` and ``weight/TASK``; checkpoints hold the method's state, and ``resume_from_checkpoint`` goes on from
    it. One process; raises ConfigError for several, for DeepSpeed and sharded models, for methods that need the batch
    again after the step, and for arguments that do not fit.
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
        self._multitask: MultitaskStep | None = None
        self._window: list[str] = []
        self._sums: dict[str, float] = {}
        self._logged = 0
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
        if args.world_size > 1 or self.is_deepspeed_enabled or self.is_fsdp_enabled:
            problems.append("several processes, DeepSpeed and sharded models are not supported: use one process")
        if args.n_gpu > 1:
            problems.append("DataParallel over several GPUs is not supported: set CUDA_VISIBLE_DEVICES to one")
        if problems:
            raise ConfigError("MultitaskTrainer: " + "; ".join(problems))

    @property
    def multitask(self) -> MultitaskStep:
        """The method at work; made at the first step, when the number of steps is known."""
        if self._multitask is None:
            model = self.accelerator.unwrap_model(self.model_wrapped)
            self._multitask = MultitaskStep(
                self._method,
                model.named_parameters(),
                self._tasks,
                self.state.max_steps,
                seed=self.args.seed,
                task_sizes=self._sizes,
                **self._method_params,
            )
            if self._multitask.optimizer.uses_after_step:
                name = self._multitask.optimizer.name
                raise ConfigError(f"MultitaskTrainer: {name} needs the losses of the same batches after each step")
        return self._multitask

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """One task's batch; the last of a window combines. Returns the loss over K, so that the log has the mean."""
        step, task = self.multitask, _name_of(inputs["dataset_name"])
        if not self._window:
            step.begin()
        step.point(task)
        loss = super().training_step(model, inputs, num_items_in_batch)
        step.take(loss, scale=scale_of(self.accelerator.scaler))
        self._window.append(task)
        self._sums[f"loss/{task}"] = self._sums.get(f"loss/{task}", 0.0) + float(loss)
        if self.accelerator.sync_gradients:
            step.finish()
            self._window = []
            self._logged += 1
            for name, weight in step.report()["weights"].items():
                self._sums[f"weight/{name}"] = self._sums.get(f"weight/{name}", 0.0) + weight
        return loss / len(self._tasks)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """With the means of losses and weights by task since the last log."""
        if "loss" in logs and self._logged:
            logs = {**logs, **{name: round(total / self._logged, 6) for name, total in self._sums.items()}}
            self._sums, self._logged = {}, 0
        super().log(logs, start_time)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        file = None if checkpoint is None else Path(checkpoint) / STATE_FILE
        if file is not None and file.is_file():
            self.multitask.load_state_dict(torch.load(file, weights_only=True))


class _SaveMethod(TrainerCallback):
    """Writes the method's state into each checkpoint."""

    def __init__(self, trainer: MultitaskTrainer) -> None:
        self._trainer = trainer

    def on_save(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if folder.is_dir():
            torch.save(self._trainer.multitask.state_dict(), folder / STATE_FILE)


def _name_of(value: Any) -> str:
    """The collator gives the data set's name, or one per row."""
    return str(value[0] if isinstance(value, list) else value)
