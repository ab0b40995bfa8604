"""Training one reader of a stage: from its start, on its examples, into a folder that transformers loads."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mtbench.config import ReaderConfig
from mtbench.pipeline.context import Context
from mtbench.pipeline.plan import Stage
from mtbench.pipeline.reading import ReadTask, reader_texts
from mtbench.reader.model import (
    load_reader,
    load_reader_tokenizer,
    save_reader,
    tiny_reader,
    train_reader_tokenizer,
)
from mtbench.reader.texts import Asked, ReaderTexts
from mtbench.reader.training import Lesson, ReaderTrainer
from mtbench.records.values import JsonObject
from mtbench.storage.atomic import read_json, write_json
from mtbench.training.streams import stream_seed

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

STUDIED = "reader"
"""Folder of the reader that a ``study`` stage leaves."""


def train_reader(
    context: Context,
    stage: Stage,
    folder: Path,
    tasks: list[ReadTask],
    settings: ReaderConfig,
    steps: Callable[[int], int],
    depth: Callable[[float], int | None] = lambda share: None,
) -> JsonObject:
    """Train the reader ``folder`` on ``tasks`` unless an earlier attempt has; what there is to tell of it.

    ``steps``: by the number of examples. ``depth``: passages behind a query when a share of the steps is done.
    """
    name, notes = folder.name, folder.parent.parent
    note = notes / "told" / f"{name}.json"
    if note.is_file():
        known: JsonObject = read_json(note)
        return known
    began = time.monotonic()
    tokenizer, model = _start(context, stage)
    examples = [(task.train, int(row)) for task in tasks for row in task.train.rows]

    def example(number: int) -> tuple[Asked, str]:
        split, row = examples[number]
        return split.example(row)

    total = steps(len(examples))
    lesson = Lesson(name, len(examples), example, stage.settings["seed"], total, lambda step: depth(step / total))
    texts, checkpoint = ReaderTexts(tokenizer, settings), notes / "checkpoint" / name
    trainer = ReaderTrainer(model, texts, settings, checkpoint, context.ranks, context.device)
    loss = trainer.run(lesson, lambda done, of, loss: context.listener.stage_advanced(stage, done, of, {name: loss}))
    told: JsonObject = {
        "queries": len(examples),
        "steps": total,
        "loss": round(loss, 4),
        "parameters": sum(p.numel() for p in trainer.parameters),
        "training_seconds": round(time.monotonic() - began, 1),
    }
    if context.ranks.rank == 0:
        save_reader(trainer.model, tokenizer, folder)
        note.parent.mkdir(exist_ok=True)
        write_json(note, told)
        shutil.rmtree(checkpoint, ignore_errors=True)
    context.ranks.barrier()
    return told


def remove_notes(work: Path) -> None:
    """Remove what was only there to go on from."""
    for rest in ("checkpoint", "told"):
        shutil.rmtree(work / rest, ignore_errors=True)


def _start(context: Context, stage: Stage) -> tuple[PreTrainedTokenizerFast, PreTrainedModel]:
    """Tokenizer and model before training: those of an earlier stage, of the reader's folder, or made anew."""
    settings = context.config.reader
    if "start" in stage.inputs:
        folder = context.folder(stage.inputs["start"]) / "readers" / STUDIED
        return load_reader_tokenizer(folder), load_reader(folder)
    if settings.path != "tiny":
        return load_reader_tokenizer(settings.path), load_reader(settings.path)
    tokenizer = train_reader_tokenizer(reader_texts(context, stage), settings.vocabulary)
    return tokenizer, tiny_reader(settings, tokenizer, stream_seed("reader weights", stage.settings["seed"]))
