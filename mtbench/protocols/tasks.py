"""The tasks that a run trains on: ``train.tasks`` against a suite."""

from __future__ import annotations

import difflib

from mtbench.errors import ConfigError, shown
from mtbench.suite import Suite

ALL = "all"


def trainable_tasks(suite: Suite) -> tuple[str, ...]:
    """The tasks that have train judgements; the others are only scored."""
    return tuple(task.name for task in suite.tasks if task.train_qrels)


def trained_tasks(text: str, suite: Suite, setting: str = "train.tasks") -> tuple[str, ...]:
    """The tasks that ``text`` means, in the suite's order: ``all``, ``nq,fever``, or ``-nq`` for all but these.

    ConfigError for a task that the suite lacks or that has no train judgements, and where none is left.
    """
    known = trainable_tasks(suite)
    if text == ALL:
        if not known:
            raise ConfigError(f"suite {suite.label} has no task with train judgements: nothing can be trained on it")
        return known
    items = [item.strip() for item in text.split(",") if item.strip()]
    left_out = [item[1:] for item in items if item.startswith("-")]
    if not items or (left_out and len(left_out) != len(items)):
        raise ConfigError(f"{setting}={shown(text)}: write all, NAME,NAME, or -NAME,-NAME for all but these")
    named = left_out or items
    for name in named:
        _check(name, suite, known, setting)
    chosen = tuple(name for name in known if (name in named) != bool(left_out))
    if not chosen:
        raise ConfigError(f"{setting}={shown(text)} leaves no task of suite {suite.label} to train on")
    return chosen


def tasks_text(tasks: tuple[str, ...], suite: Suite) -> str:
    """The one way in which specifications write ``tasks``: ``all``, or their names in the suite's order."""
    return ALL if tasks == trainable_tasks(suite) else ",".join(tasks)


def _check(name: str, suite: Suite, known: tuple[str, ...], setting: str) -> None:
    if name in known:
        return
    if name in {task.name for task in suite.tasks}:
        raise ConfigError(f"{setting}: task {name} of suite {suite.label} has no train judgements, only dev queries")
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    raise ConfigError(f"{setting}: suite {suite.label} has no task {shown(name)}{hint}; it has {', '.join(known)}")
