"""warmup and train: one task loss per task and step, a multitask optimizer, Adam."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

from mtbench.data.negatives import Negatives
from mtbench.optim.states import OptimizerState
from mtbench.pipeline.context import Context
from mtbench.pipeline.plan import Stage, episode_length
from mtbench.records.record import OptimizerSpec
from mtbench.registry import get_optimizer
from mtbench.storage.manifest import Results
from mtbench.training.batches import BatchOrder, check_contrast
from mtbench.training.examples import TaskExamples, TrainingData, selection_rows, usable_rows
from mtbench.training.loop import Episode, Trainer
from mtbench.training.state_files import load_state, save_state


def compute(context: Context, stage: Stage, work: Path) -> Results | None:
    """Writes ``model/`` (a folder that transformers loads), ``journal.json``, ``summary.json``, ``optimizer/``."""
    prepare, previous = stage.inputs["prepare"], stage.inputs.get("model")
    config = context.config
    seed, number = stage.settings["seed"], stage.settings["episode"]
    examples = load_examples(context, stage)
    data = TrainingData(examples, stage_order(context, stage, examples), context.padding(prepare))
    length = episode_length(config.train, number)
    steps = length.get("steps") or max(1, math.ceil(length["epochs"] * data.order.steps_per_epoch))
    chosen = stage.settings["optimizer"]
    method = get_optimizer(chosen["name"])(**chosen["params"])
    episode = Episode(number, steps, length["lr"], seed, _carried(context, previous, chosen))
    trainer = Trainer(context.model(previous, prepare), data, method, episode, config, work, context.ranks)
    summary = trainer.run(lambda done, total, losses: context.listener.stage_advanced(stage, done, total, losses))
    optimizer_state = trainer.optimizer_state()
    if context.ranks.rank:
        return None
    prompts, lengths = context.query_settings(prepare)
    texts = config.data.model_dump(mode="json", include={"prompt", "passage_max_length", "query_max_length"})
    trainer.model.save(work / "model", context.tokenizer(prepare), prompts, lengths, texts)
    (work / "journal.json").write_text(json.dumps(trainer.journal.entries), encoding="utf-8")
    (work / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    save_state(work / "optimizer", optimizer_state)
    shutil.rmtree(work / "checkpoint", ignore_errors=True)
    return {"summary": summary}


def load_examples(context: Context, stage: Stage) -> list[TaskExamples]:
    """What a ``warmup`` or ``train`` stage trains on, task by task."""
    suite = context.prepared(stage.inputs["prepare"])
    negatives = context.folder(stage.inputs["negatives"]) / "negatives"
    examples = []
    for name, task in suite.tasks.items():
        corpus = suite.corpora[task.corpus]
        examples.append(TaskExamples(task, corpus, Negatives.load(negatives / name), task.not_negative(corpus)))
    return examples


def stage_order(context: Context, stage: Stage, examples: list[TaskExamples]) -> BatchOrder:
    """The batches of a ``warmup`` or ``train`` stage."""
    train, count = context.config.train, context.config.data.selection_queries
    rows = [usable_rows(e.queries, selection_rows(e.queries, e.task.name, count)) for e in examples]
    names = [e.task.name for e in examples]
    seed, episode = stage.settings["seed"], stage.settings["episode"]
    order = BatchOrder(names, rows, train.batch_size, train.task_temperature, seed, episode)
    check_contrast(names, [len(r) for r in rows], order.sizes, train.hard_negatives)
    return order


def _carried(context: Context, previous: Stage | None, chosen: OptimizerSpec) -> OptimizerState | None:
    """The method's state at the end of the episode before, if the same method acted there and keeps its state."""
    if previous is None or chosen["params"].get("reset_on_episode", True):
        return None
    if previous.settings["optimizer"] != chosen:
        return None
    state: OptimizerState | None = load_state(context.folder(previous) / "optimizer")
    return state
