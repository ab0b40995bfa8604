"""Trials that Optuna chooses: asked for a few at a time, told the score on the slice of train, asked again.

With one seed and one round size the points are a function of the scores, so that the same command finds its earlier
runs and goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING

from mtbench.errors import EnvironmentMismatchError
from mtbench.execution.executors import Executor
from mtbench.execution.grid import Axis, Point
from mtbench.execution.sweep_plan import Setting, SweepPlanner, fill_records

if TYPE_CHECKING:
    import optuna


def optuna_settings(planner: SweepPlanner, executor: Executor) -> list[Setting]:
    """Run ``trials`` points per Optuna's TPE sampler; the settings with their records. EnvironmentMismatchError
    without Optuna."""
    optuna = _require_optuna()
    with _quiet(optuna):
        return _ask_and_tell(planner, executor, optuna)


def _ask_and_tell(planner: SweepPlanner, executor: Executor, optuna: ModuleType) -> list[Setting]:
    request = planner.request
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
    found: dict[tuple[str, ...], Setting] = {}
    left = request.trials or 0
    while left > 0:
        trials = [study.ask() for _ in range(min(request.execution.round_size, left))]
        left -= len(trials)
        by_point = [planner.settings([_point(trial, request.axes)]) for trial in trials]
        settings = [setting for group in by_point for setting in group]
        fill_records(settings, executor.run(planner.planned(settings)))
        for trial, group in zip(trials, by_point, strict=True):
            scores = [s.selection for s in group if s.selection is not None]
            if scores:
                study.tell(trial, max(scores))
            else:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            for setting in group:
                found.setdefault(tuple(job.run_id for job in setting.jobs), setting)
                for job, record in zip(setting.jobs, setting.records, strict=True):
                    job.finished = record if record["status"] == "complete" else job.finished
    return list(found.values())


def _point(trial: optuna.Trial, axes: tuple[Axis, ...]) -> Point:
    point: dict[str, str] = {}
    for axis in axes:
        if axis.is_range:
            point[axis.key] = f"{trial.suggest_float(axis.key, axis.low, axis.high, log=axis.log):.4g}"
        else:
            point[axis.key] = str(trial.suggest_categorical(axis.key, list(axis.values)))
    return point


def _require_optuna() -> ModuleType:
    try:
        import optuna
    except ImportError:
        raise EnvironmentMismatchError(
            "--sampler optuna needs Optuna, which is not installed: pip install optuna (or use --sampler random)"
        ) from None
    return optuna


@contextmanager
def _quiet(optuna: ModuleType) -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
