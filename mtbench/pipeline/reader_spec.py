"""The reader of a run before any work: whether there is one, which model it is, and what of it determines results."""

from __future__ import annotations

from collections.abc import Callable

from mtbench.errors import ConfigError
from mtbench.model.source import EncoderSource
from mtbench.reader_config import OF_STUDY, TINY_SIZES, ReaderConfig
from mtbench.records.record import READERS, EncoderSpec
from mtbench.records.values import JsonObject, Settings


def settle_reader(
    settings: ReaderConfig,
    wanted: bool,
    optimizer: str,
    given: Settings,
    find: Callable[[str, str], EncoderSource],
) -> tuple[ReaderConfig, EncoderSource | None]:
    """The reader's settings with its folder, and where it is; defaults and None for a run that is to have none.

    ``given``: the settings that the user laid over the profile. ``find``: the model of a path. ConfigError for settings
    or a row of a reader that nobody asked for.
    """
    if not wanted:
        if optimizer in READERS:
            raise ConfigError(f"the row {optimizer} only answers: it needs --reader")
        if "reader" in given:
            key = f"reader.{next(iter(given['reader']), 'path')}"
            raise ConfigError(f"--set {key}: the run has no reader\n  Add --reader, or leave the setting out.")
        return ReaderConfig(), None
    source = find(settings.path, "reader.path")
    return settings.model_copy(update={"path": source.path}), source


def reader_content(settings: ReaderConfig, model: EncoderSpec | None, optimizer: str) -> JsonObject:
    """What of a reader matters to its answers beside what it starts from, as fingerprints have it."""
    unused = {"path", "epochs" if settings.steps is not None else "steps"}
    if settings.path != "tiny":
        unused |= TINY_SIZES
    unused |= {"start_steps", "start_lr"}
    if optimizer == "closed-book":
        unused |= {"passages"} if settings.start_steps else {"passages", "passage_length"}
    return {"model": model, **settings.content(exclude=unused)}


def specified_reader(settings: ReaderConfig, model: EncoderSpec | None, optimizer: str) -> JsonObject:
    """The reader as specifications have it."""
    start = settings.content(include={"start_steps", "start_lr"}) if settings.start_steps else {}
    return {**reader_content(settings, model, optimizer), **start}


def study_content(settings: ReaderConfig, model: EncoderSpec | None) -> JsonObject:
    """What of a reader matters before it meets a retriever."""
    sizes = TINY_SIZES if settings.path == "tiny" else frozenset[str]()
    return {"model": model, **settings.content(include=OF_STUDY | sizes)}
