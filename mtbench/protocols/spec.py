"""What a run is about, from what it trains on: the part ``protocol`` of its specification."""

from __future__ import annotations

from mtbench.config import TrainConfig
from mtbench.errors import ConfigError
from mtbench.protocols.tasks import trainable_tasks
from mtbench.records.record import ProtocolSpec
from mtbench.suite import Suite

STARTS = ("encoder", "warmup", "leave-one-out")
"""What ``train.start`` may be beside a run id."""


def protocol_spec(train: TrainConfig, tasks: tuple[str, ...], suite: Suite, asked: str | None) -> ProtocolSpec | None:
    """The specification's ``protocol``; None for a run that trains on all tasks and serves all.

    ``asked``: the protocol that the run was made for. Without one, a single task is ``per-task`` (``few-shot`` with a
    number of examples), all but one ``leave-one-out``, and every other part of the tasks a ``subset``, which serves
    what it trains on.
    """
    known = trainable_tasks(suite)
    name = "fused" if train.fusion != "none" else asked or _by_tasks(train, tasks, known)
    if name is None:
        return None
    task = tasks[0] if len(tasks) == 1 else None
    if train.fusion != "none":
        return {
            "name": "fused",
            "task": None,
            "tasks": list(tasks),
            "examples": None,
            "start": train.start,
            "budget": train.budget,
            "fusion": train.fusion,
        }
    if name == "leave-one-out":
        left_out = [task for task in known if task not in tasks]
        if len(left_out) != 1:
            raise ConfigError(f"leave-one-out trains on all tasks but one, not on {', '.join(tasks)}")
        task = left_out[0]
    return {
        "name": name,
        "task": task,
        "tasks": list(tasks),
        "examples": train.examples,
        "start": train.start,
        "budget": train.budget,
    }


def _by_tasks(train: TrainConfig, tasks: tuple[str, ...], known: tuple[str, ...]) -> str | None:
    if tasks == known:
        return None
    if len(tasks) == 1:
        return "per-task" if train.examples is None and train.start != "leave-one-out" else "few-shot"
    return "leave-one-out" if len(tasks) == len(known) - 1 and train.examples is None else "subset"
