"""warmup and train: one task loss per task and step, a multitask optimizer, Adam."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

from mtbench.data.prepared import PreparedSuite
from mtbench.pipeline.context import Context
from mtbench.pipeline.plan import Stage, episode_length
from mtbench.registry import get_optimizer
from mtbench.retrieval.negatives import Negatives
from mtbench.training.batches import BatchOrder
from mtbench.training.examples import TaskExamples, selection_rows, usable_rows
from mtbench.training.loop import Episode, Trainer
from mtbench.training.state_files import load_state, save_state


def compute(context: Context, stage: Stage, work: Path) -> dict[str, Any] | None:
    """Writes ``model/`` (a folder that transformers loads), ``journal.json``, ``summary.json``, ``optimizer/``."""
    prepare, previous = stage.inputs["prepare"], stage.inputs.get("model")
    suite, config = context.prepared(prepare), context.config
    seed, number = stage.settings["seed"], stage.settings["episode"]
    examples = _examples(suite, context.folder(stage.inputs["negatives"]) / "negatives")
    rows = [
        usable_rows(e.queries, selection_rows(e.queries, e.task.name, config.data.selection_queries)) for e in examples
    ]
    order = BatchOrder(
        [e.task.name for e in examples], rows, config.train.batch_size, config.train.task_temperature, seed, number
    )
    length = episode_length(config.train, number)
    steps = length.get("steps") or max(1, math.ceil(length["epochs"] * order.steps_per_epoch))
    chosen = stage.settings["optimizer"]
    trainer = Trainer(
        context.model(previous, prepare),
        context.padding(prepare),
        examples,
        order,
        get_optimizer(chosen["name"])(**chosen["params"]),
        Episode(number, steps, length["lr"], seed),
        config,
        work,
        carried=_carried(context, previous, chosen),
        listener=lambda done, total, losses: context.listener.stage_advanced(stage, done, total, losses),
    )
    summary = trainer.run()
    prompts = {t.name: t.prompt for t in context.run.suite.tasks} if config.data.prompt == "task" else {}
    trainer.model.save(work / "model", context.tokenizer(prepare), prompts)
    (work / "journal.json").write_text(json.dumps(trainer.journal.entries), encoding="utf-8")
    (work / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    save_state(work / "optimizer", trainer.optimizer.state_dict())
    shutil.rmtree(work / "checkpoint", ignore_errors=True)
    return {"summary": summary}


def _examples(suite: PreparedSuite, negatives: Path) -> list[TaskExamples]:
    return [
        TaskExamples(task, suite.corpora[task.corpus], Negatives.load(negatives / name))
        for name, task in suite.tasks.items()
    ]


def _carried(context: Context, previous: Stage | None, chosen: dict[str, Any]) -> dict[str, Any] | None:
    """The method's state at the end of the episode before, if the same method acted there and keeps its state."""
    if previous is None or chosen["params"].get("reset_on_episode", True):
        return None
    if previous.settings["optimizer"] != chosen:
        return None
    return load_state(context.folder(previous) / "optimizer")
