"""Which part of a suite a run trains on: ``train.tasks`` and what belongs to it, checked and written in one way."""

from __future__ import annotations

from dataclasses import dataclass

from mtbench.config import Config
from mtbench.errors import ConfigError
from mtbench.protocols.spec import protocol_spec
from mtbench.protocols.tasks import ALL, tasks_text, trainable_tasks, trained_tasks
from mtbench.records.record import ProtocolSpec
from mtbench.suite import Suite

NO_PART = {"tasks": ALL, "examples": None, "start": "encoder", "budget": "steps", "fusion": "none"}
"""The settings of training that choose a part, at their defaults: all tasks, trained as one run."""


@dataclass(frozen=True)
class TrainedPart:
    """Tasks in the suite's order, settings in which everything without effect has its default, and what is said."""

    config: Config
    tasks: tuple[str, ...]
    protocol: ProtocolSpec | None
    warnings: tuple[tuple[str, str], ...] = ()
    """Code and message."""

    @property
    def is_fused(self) -> bool:
        """Whether nothing is trained: the models of the runs on one task each are merged."""
        return self.config.train.fusion != "none"

    @property
    def has_rule(self) -> bool:
        """Whether the method is naive, whatever was asked for."""
        return self.is_single or self.is_fused

    @property
    def is_single(self) -> bool:
        """Whether one task out of several is trained on, so that there is nothing for a method to combine."""
        return self.protocol is not None and len(self.tasks) == 1


def _check_fusion(config: Config, tasks: tuple[str, ...], suite: Suite) -> None:
    train, known = config.train, trainable_tasks(suite)
    if train.fusion == "none":
        return
    if tasks != known or train.examples is not None or train.start not in ("encoder", "warmup"):
        raise ConfigError(
            f"train.fusion={train.fusion} merges the models of runs on one task each, on all tasks, from the encoder "
            "or the shared warm-up: leave train.tasks and train.examples out"
        )
    if len(known) < 2:
        raise ConfigError(
            f"train.fusion={train.fusion}: suite {suite.label} has one task to train on, nothing to merge"
        )


def settle_part(config: Config, suite: Suite, asked: str | None, baseline: bool) -> TrainedPart:
    """The part that ``config.train`` chooses; for a baseline, which trains nothing, all.

    ``asked``: the protocol that the run was made for. ConfigError for what cannot be trained or served.
    """
    _check_split(config)
    train = config.train
    if baseline:
        nothing = train.model_copy(update=NO_PART)
        tasks = trainable_tasks(suite)
        return TrainedPart(config.model_copy(update={"train": nothing}), tasks, None)
    tasks = trained_tasks(train.tasks, suite)
    text = tasks_text(tasks, suite)
    update: dict[str, str] = {"tasks": text}
    _check_fusion(config, tasks, suite)
    is_whole = text == ALL and train.fusion == "none"
    if is_whole:
        update["budget"] = "steps"  # all budgets are the same
    if is_whole and train.examples is None and train.start == "warmup":
        update["start"] = "encoder"  # its own warm-up is the shared one
    train = train.model_copy(update=update)
    config = config.model_copy(update={"train": train})
    protocol = protocol_spec(train, tasks, suite, asked)
    _check_start(config, tasks, suite, protocol)
    return TrainedPart(config, tasks, protocol, _tower_warnings(config, tasks, suite, protocol))


def _check_split(config: Config) -> None:
    if config.encoder.split_after == "start":
        return
    if config.encoder.sharing == "shared":
        raise ConfigError(
            "encoder.split_after=warmup makes several encoders of one, and encoder.sharing=shared has one\n"
            "  Set encoder.sharing=untied, per-task-query or per-family-query."
        )
    if config.train.episodes == 0:
        raise ConfigError(
            "encoder.split_after=warmup: there is nothing after the warm-up, since train.episodes=0\n"
            "  Set train.episodes=1 or more."
        )


def _check_start(config: Config, tasks: tuple[str, ...], suite: Suite, protocol: ProtocolSpec | None) -> None:
    start, known = config.train.start, trainable_tasks(suite)
    if start == "leave-one-out" and (len(tasks) != 1 or len(known) < 2):
        raise ConfigError(
            f"train.start=leave-one-out is the run on all tasks but the one that is trained on now: train.tasks must "
            f"name one task, of a suite that has another; suite {suite.label} has {', '.join(known)}"
        )
    if start == "warmup" and config.train.start_episode == "warmup":
        raise ConfigError(
            "train.start=warmup is a warm-up that runs share, so it is naive; train.start_episode=warmup lets the "
            "method act in it\n  Choose one of the two."
        )
    if start == "warmup" and protocol is not None and protocol["task"] not in (None, *tasks):
        raise ConfigError(
            f"train.start=warmup has seen all tasks, {protocol['task']} too, which this run leaves out\n"
            "  Use train.start=encoder."
        )


def _tower_warnings(
    config: Config, tasks: tuple[str, ...], suite: Suite, protocol: ProtocolSpec | None
) -> tuple[tuple[str, str], ...]:
    """What is to be said of query towers that nothing trains; ConfigError where the run is about one of them."""
    sharing = config.encoder.sharing
    if sharing not in ("per-task-query", "per-family-query"):
        return ()
    served = {task.family for task in suite.tasks if task.name in tasks} if sharing == "per-family-query" else ()
    unseen = [task.name for task in suite.tasks if task.name not in tasks and task.family not in served]
    if config.train.start != "encoder" or not unseen:
        return ()
    if protocol is None or protocol["task"] in unseen:
        names = ", ".join(unseen) if protocol is None else str(protocol["task"])
        whose, other = "task", "shared, untied or per-family-query"
        if sharing == "per-family-query":
            whose, other = "family", "shared or untied"
        raise ConfigError(
            f"encoder.sharing={sharing} has a query tower for each {whose}, and nothing trains that of {names}: it "
            f"cannot serve a task that it has not seen\n  Choose encoder.sharing={other}."
        )
    text = f"the query towers of {', '.join(unseen)} are untrained: figures of these tasks are those of the start"
    return (("untrained-tower", text),)
