"""The settings of training: section ``train``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from mtbench.sections import Section

RATES = {"random": 5e-3, "cut": 2e-4, "pre-trained": 2e-5}
"""Learning rates by kind of start, the last two measured on real text with MiniLM (``docs/your-encoder.md``). The first
destroys pre-trained weights within a warm-up; the second is right where layers were cut off, so that vectors mean
little before training, and makes a whole encoder worse."""
LOGIT_SCALE = 20.0
"""What scores of normalised vectors are multiplied by in the loss: cosines alone hardly train."""
_RATE = (
    f"auto: {RATES['random']:g} from random weights, {RATES['pre-trained']:g} from pre-trained ones, "
    f"{RATES['cut']:g} where encoder.keep_layers cut them"
)


MOMENTUM = {"sgd": 0.9, "muon": 0.95}
"""Of the base optimizers that have one."""


class TrainConfig(Section):
    """The training loop. One step has one batch of every task; lengths are in epochs unless steps are given."""

    without_effect = frozenset({"checkpoint_every", "shard_state", "check_ranks_every"})

    batch_size: int = Field(64, ge=1, description="queries per step, over all tasks and ranks")
    task_temperature: float = Field(4.0, gt=0, description="c: task batch sizes go with N_k^(1/c); 1 in a union")
    hard_negatives: int = Field(1, ge=0, description="hard negatives per query")
    positive: Literal["first", "random"] = "random"
    warmup_lr: float | None = Field(None, gt=0, description=_RATE)
    lr: float | None = Field(None, gt=0, description=f"of the episodes; {_RATE}")
    warmup_epochs: float = Field(1, gt=0)
    warmup_steps: int | None = Field(None, ge=1, description="instead of warmup_epochs")
    epochs: float = Field(1, gt=0, description="per episode")
    steps: int | None = Field(None, ge=1, description="per episode, instead of epochs")
    episodes: int = Field(3, ge=0)
    start_episode: int | Literal["last", "warmup"] = Field("last", description="the optimizer acts from here on")
    lr_warmup: float = Field(0.1, ge=0, lt=1, description="share of linear warm-up of the learning rate")
    weight_decay: float = Field(0.0, ge=0)
    adam_betas: tuple[float, float] = (0.9, 0.999)
    adam_eps: float = Field(1e-8, gt=0)
    clip_norm: float | Literal["naive"] = Field(
        1.0, description="of the combined gradient; 0: no clipping; naive: what naive's would have after clipping at 1"
    )
    logit_scale: float | None = Field(
        None,
        gt=0,
        description=f"multiplies the loss's scores; auto: {LOGIT_SCALE:g} for normalised vectors, else 1",
        json_schema_extra={"since": 2, "old": 1.0},
    )
    tasks: str = Field(
        "all", description="trained on: all, nq,fever, or -nq for all but nq", json_schema_extra={"since": 2}
    )
    examples: int | None = Field(
        None,
        ge=1,
        description="of each task: the first N of one order for each seed; None: all",
        json_schema_extra={"since": 2},
    )
    start: str = Field(
        "encoder",
        description="encoder, warmup (of all tasks), leave-one-out (the run without this task), or a run id",
        json_schema_extra={"since": 2},
    )
    budget: Literal["steps", "queries", "batch"] = Field(
        "steps",
        description="of a part of the tasks, by the run on all: its steps with the own share of a batch, its queries "
        "in whole batches, or its steps with whole batches",
        json_schema_extra={"since": 2},
    )
    base: Literal["adamw", "sgd", "muon"] = Field(
        "adamw",
        description="takes the step along the combined gradient; muon: the weight matrices of numbered blocks, adamw "
        "the rest. With sgd a gradient's length matters: methods need learning rates of their own",
        json_schema_extra={"since": 2},
    )
    base_momentum: float | None = Field(
        None,
        ge=0,
        lt=1,
        description=f"of sgd and muon; auto: {MOMENTUM['sgd']:g} and {MOMENTUM['muon']:g}",
        json_schema_extra={"since": 2},
    )
    tasks_per_step: int = Field(
        0,
        ge=0,
        description="tasks in a step, and stages as much longer; 0: all. Methods that weigh gradients against each "
        "other see those of one step only",
        json_schema_extra={"since": 2},
    )
    task_order: Literal["round_robin", "shuffled", "shares"] = Field(
        "round_robin",
        description="whose turn it is: one after the other, shuffled anew each round, or drawn as N^(1/c)",
        json_schema_extra={"since": 2},
    )
    draws: Literal["extra", "split"] = Field(
        "extra",
        description="for methods with several independent draws of a task (sdmgrad): each a batch of its own, or a "
        "part of the one batch",
        json_schema_extra={"since": 2},
    )
    fusion: Literal["none", "uniform", "deviation"] = Field(
        "none",
        description="instead of training: merge the models of the runs on one task each, equally or by how far "
        "each moved a parameter",
        json_schema_extra={"since": 2},
    )
    mixing: Literal["tasks", "union"] = Field(
        "tasks",
        description="a batch is one of every task, or the next queries of one shuffled union of them, with negatives "
        "across tasks",
        json_schema_extra={"since": 2},
    )
    evaluate_every: int = Field(
        0,
        ge=0,
        description="steps between two looks at the slice of train, in a pool of passages; 0: none",
        json_schema_extra={"since": 2},
    )
    keep: Literal["last", "best"] = Field(
        "last",
        description="the parameters that a stage ends with: of its last step, or of the best look (evaluate_every)",
        json_schema_extra={"since": 2},
    )
    restart: bool = Field(
        False,
        description="every episode trains anew from the encoder, on the negatives of the model before",
        json_schema_extra={"since": 2},
    )
    micro_batch: int = Field(0, ge=0, description="texts per forward pass with gradient caching; 0: whole task batches")
    log_every: int = Field(10, ge=1)
    cosines_every: int = Field(50, ge=0, description="pairwise cosines of task gradients; 0: never")
    checkpoint_every: int = Field(50, ge=1, description="steps")
    shard_state: bool = Field(True, description="several ranks: each keeps a slice of the optimizers' state")
    check_ranks_every: int = Field(100, ge=1, description="steps between two looks whether ranks hold equal weights")

    @field_validator("tasks", mode="before")
    @classmethod
    def _named_tasks(cls, value: Any) -> Any:
        return ",".join(map(str, value)) if isinstance(value, list | tuple) else value

    @field_validator("adam_betas")
    @classmethod
    def _betas(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= beta < 1 for beta in value):
            raise ValueError("needs two numbers in [0, 1)")
        return value

    @field_validator("clip_norm")
    @classmethod
    def _no_negative_norm(cls, value: float | str) -> float | str:
        if isinstance(value, float) and value < 0:
            raise ValueError("needs a number >= 0, or naive")
        return value

    @field_validator("base_momentum")
    @classmethod
    def _momentum_of_its_base(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None and info.data.get("base") == "adamw":
            raise ValueError("is for train.base=sgd or muon; adamw has train.adam_betas")
        return value

    @model_validator(mode="after")
    def _resolve_momentum(self) -> TrainConfig:
        if self.base_momentum is None and self.base in MOMENTUM:
            object.__setattr__(self, "base_momentum", MOMENTUM[self.base])
        return self

    @property
    def share_temperature(self) -> float:
        """c of the tasks' shares N_k^(1/c) of a batch; in a union every query is as likely as any other."""
        return 1.0 if self.mixing == "union" else self.task_temperature

    @property
    def momentum(self) -> float:
        """Of the base optimizer; 0 for one that has none."""
        return self.base_momentum or 0.0

    @field_validator("task_order")
    @classmethod
    def _order_of_some(cls, value: str, info: ValidationInfo) -> str:
        if value != "round_robin" and not info.data.get("tasks_per_step"):
            raise ValueError("needs train.tasks_per_step, without which every step has all tasks")
        return value

    @field_validator("start_episode")
    @classmethod
    def _episode(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 1:
            raise ValueError("episodes count from 1; use 'warmup' to act from the first step")
        return value
