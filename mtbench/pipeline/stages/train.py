"""warmup and train: one task loss per task and step, a multitask optimizer, Adam."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np

from mtbench.config import TrainConfig
from mtbench.data.negatives import Negatives
from mtbench.data.prepared import PreparedSuite
from mtbench.errors import ConfigError
from mtbench.model.encoder import DualEncoder
from mtbench.optim.states import OptimizerState
from mtbench.pipeline.context import Context
from mtbench.pipeline.plan import PART, Stage
from mtbench.pipeline.stage_tasks import stage_tasks, trainable
from mtbench.records.record import OptimizerSpec
from mtbench.registry import get_optimizer
from mtbench.retrieval.encode import Encoder
from mtbench.storage.manifest import Results
from mtbench.training.batches import BatchOrder, check_contrast
from mtbench.training.budget import epoch_steps, part_of, task_budget
from mtbench.training.examples import TaskExamples, TrainingData, first_examples, selection_rows, usable_rows
from mtbench.training.loop import Episode, Trainer
from mtbench.training.reading import stage_steps
from mtbench.training.state_files import load_state, save_state
from mtbench.training.validation import Validator, pools


def compute(context: Context, stage: Stage, work: Path) -> Results | None:
    """Writes ``model/`` (a folder that transformers loads), ``journal.json`` and ``summary.json``; ``optimizer/`` for a
    method that keeps its state over episodes."""
    prepare, previous = stage.inputs["prepare"], stage.inputs.get("model")
    config = context.config
    seed, number = stage.settings["seed"], stage.settings["episode"]
    examples = load_examples(context, stage)
    order, steps = stage_batches(context, stage)
    data = TrainingData(examples, order, context.padding(prepare))
    chosen = stage.settings["optimizer"]
    method = get_optimizer(chosen["name"])(**chosen["params"])
    carried, first = _carried(context, previous, chosen), first_acting_episode(stage)
    episode = Episode(number, steps, stage.settings["lr"], seed, carried, first)
    trainer = Trainer(_model(context, stage), data, method, episode, config, work, context.ranks)
    trainer.validator = _validator(context, trainer, data)
    summary = trainer.run(lambda done, total, losses: context.listener.stage_advanced(stage, done, total, losses))
    # for a next episode of the method alone; at T5-base T-SAGE's is 7 GB
    state = None if chosen["params"].get("reset_on_episode", True) else trainer.optimizer_state()
    if context.ranks.rank:
        return None
    prompts, lengths = context.query_settings(prepare)
    trainer.model.save(work / "model", context.tokenizer(prepare), prompts, lengths, context.text_settings)
    (work / "journal.json").write_text(json.dumps(trainer.journal.entries), encoding="utf-8")
    (work / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    if state is not None:
        save_state(work / "optimizer", state)
    shutil.rmtree(work / "checkpoint", ignore_errors=True)
    return {"summary": summary}


def _validator(context: Context, trainer: Trainer, data: TrainingData) -> Validator | None:
    """Looks at the slice of train of the tasks that are trained on; None where nobody asked for them."""
    train, search = context.config.train, context.config.search
    if not train.evaluate_every:
        return None
    names, count = list(data.order.names), context.config.data.selection_queries
    rows = [selection_rows(example.queries, name, count) for name, example in zip(names, data.examples, strict=True)]
    found = pools(data.examples, names, rows)
    if not found:
        raise ConfigError(
            f"train.evaluate_every={train.evaluate_every}: no task has a slice of train to look at\n"
            "  A task needs at least 10 judged training queries, and data.selection_queries must be above 0."
        )
    encoder = Encoder(trainer.model, data.padding, search.encode_tokens, trained=True)
    return Validator(
        found, encoder.vectors, train.evaluate_every, train.keep == "best", trainer.flat.theta, context.ranks
    )


def _model(context: Context, stage: Stage) -> DualEncoder:
    """The encoder that the stage begins with: of one or several towers, as its settings say."""
    prepare, previous = stage.inputs["prepare"], stage.inputs.get("model")
    if previous is None:
        sharing = stage.settings["encoder"]["sharing"]
        return context.initial_model(prepare, context.config.encoder.model_copy(update={"sharing": sharing}))
    model = context.model(previous, prepare)
    if "split" in stage.settings:
        return model.split(context.config.encoder, context.families(prepare)).to(context.device)
    return model


def load_examples(context: Context, stage: Stage) -> list[TaskExamples]:
    """What a ``warmup`` or ``train`` stage trains on, task by task."""
    suite = context.prepared(stage.inputs["prepare"])
    negatives = context.folder(stage.inputs["negatives"]) / "negatives"
    examples = []
    for name in stage_tasks(stage, suite):
        task = suite.tasks[name]
        corpus, place = suite.corpora[task.corpus], list(suite.tasks).index(name)
        mined = Negatives.load(negatives / name)
        examples.append(TaskExamples(task, corpus, mined, task.not_negative(corpus), place=place))
    return examples


def stage_batches(context: Context, stage: Stage) -> tuple[BatchOrder, int]:
    """The batches of a ``warmup`` or ``train`` stage, and how many steps it takes.

    What a part of the tasks gets is measured by all of them (:mod:`mtbench.training.budget`).
    """
    train, settings = stage_training(context, stage), stage.settings
    suite = context.prepared(stage.inputs["prepare"])
    names, seed = trainable(suite), settings["seed"]
    rows = [_rows(suite, name, context.config.data.selection_queries, seed, train.examples) for name in names]
    whole = BatchOrder(names, rows, train.batch_size, train.share_temperature, seed, settings["episode"])
    an_epoch = epoch_steps([len(r) for r in rows], whole.sizes, train)
    steps = settings.get("steps") or max(1, math.ceil(settings["epochs"] * an_epoch))
    tasks = stage_tasks(stage, suite)
    budget = task_budget(names, [len(r) for r in rows], tasks, train)
    order = part_of(whole, tasks, budget)
    check_contrast(tasks, [len(r) for r in order.rows], order.sizes, train.hard_negatives, train.mixing == "union")
    return order, stage_steps(budget.steps(steps), len(tasks), train)


def stage_training(context: Context, stage: Stage) -> TrainConfig:
    """The run's settings of training, with the part of the data that this stage is about."""
    chosen = {name: stage.settings["train"].get(name, TrainConfig.model_fields[name].default) for name in PART}
    return context.config.train.model_copy(update=chosen)


def _rows(suite: PreparedSuite, name: str, selection: int, seed: int, examples: int | None) -> np.ndarray:
    queries = suite.tasks[name].train
    return first_examples(usable_rows(queries, selection_rows(queries, name, selection)), name, seed, examples)


def first_acting_episode(stage: Stage) -> int:
    """The first episode of an unbroken row, up to this one, in which this stage's method acts."""
    first = stage
    while True:
        before = first.inputs.get("model")
        if before is None or before.settings["optimizer"] != stage.settings["optimizer"]:
            number: int = first.settings["episode"]
            return number
        first = before


def _carried(context: Context, previous: Stage | None, chosen: OptimizerSpec) -> OptimizerState | None:
    """The method's state at the end of the episode before, if the same method acted there and keeps its state."""
    if previous is None or chosen["params"].get("reset_on_episode", True):
        return None
    if previous.settings["optimizer"] != chosen:
        return None
    state: OptimizerState | None = load_state(context.folder(previous) / "optimizer")
    return state
