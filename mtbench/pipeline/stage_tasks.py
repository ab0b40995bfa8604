"""The tasks that a stage is about, by its own settings: those of the run that owns it may be more, or others."""

from __future__ import annotations

from mtbench.data.prepared import PreparedSuite
from mtbench.pipeline.plan import Stage


def trainable(suite: PreparedSuite) -> list[str]:
    """The tasks that have training queries."""
    return [name for name, task in suite.tasks.items() if len(task.train)]


def stage_tasks(stage: Stage, suite: PreparedSuite) -> list[str]:
    """The tasks that a stage of mining or training works on, in the suite's order."""
    text = stage.settings.get("train", stage.settings).get("tasks")
    return trainable(suite) if text is None else [name for name in suite.tasks if name in text.split(",")]
