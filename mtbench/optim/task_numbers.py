"""Hyperparameters with a number for each task, and the preference among tasks that several methods take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from mtbench.errors import ConfigError, UsageError
from mtbench.hyperparameters import hyper, hyperparameters
from mtbench.per_task import read_per_task


class TaskHyperparameters:
    """The part of the contract that knows the tasks by name."""

    name: ClassVar[str]
    num_tasks: int
    tasks: list[int]
    task_names: list[str] | None
    _per_task: dict[str, list[float]]

    def _name_tasks(self, names: Sequence[str] | None) -> None:
        """Keep the tasks' names, and turn every hyperparameter that holds a number per task into K numbers."""
        if names is not None and (len(names) != self.num_tasks or len(set(names)) != len(names)):
            raise ConfigError(f"{self.name}: task_names must be {self.num_tasks} distinct names, got {list(names)}")
        self.task_names = None if names is None else list(names)
        self._per_task = {
            field: read_per_task(getattr(self, field), f"{self.name}: {field}:").numbers(
                self.num_tasks, self.task_names, f"{self.name}: {field}:"
            )
            for field, declared in hyperparameters(type(self)).items()
            if declared.per_task
        }

    def per_task(self, name: str) -> np.ndarray:
        """The K numbers (float64) of the hyperparameter ``name``, declared with ``per_task=True``."""
        if not hasattr(self, "_per_task"):
            raise UsageError(f"{self.name}: call start(theta, num_tasks, total_steps) first")
        return np.asarray(self._per_task[name], dtype=np.float64)

    def preferences(self) -> np.ndarray:
        """How much the user prefers each of the present tasks (n,), with mean 1: all 1 by default.

        Of the hyperparameter ``preference``, see :func:`preference_field`. Where all the present ones have 0: all 1.
        """
        own = self.per_task("preference")[self.tasks]
        if not own.any():
            return np.ones(len(own))
        own = own / own.max()
        found: np.ndarray = own / own.mean()
        return found


def preference_field(*, gt: float | None = None) -> Any:
    """The hyperparameter ``preference`` of methods that can prefer some tasks: a number per task, of which only the
    ratios count; :meth:`MultitaskOptimizer.preferences` gives them. Above ``gt``, or else at least 0."""
    ge = 0 if gt is None else None
    return hyper("", per_task=True, ge=ge, gt=gt, since=2, help="how much each task is preferred; only ratios count")
