"""What a sweep is: settings of one or several optimizers, each planned for all seeds, and the choice among them.

The choice is made on the slice of the training queries that is never trained on (``record["selection"]``), never on
dev.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from mtbench.config import Config, build_config, load_profile, merge, profile_params
from mtbench.data.loading import carried_settings
from mtbench.errors import ConfigError, UsageError
from mtbench.execution.grid import Axis, Point, grid_points, random_points
from mtbench.execution.matrix import RunMatrix
from mtbench.execution.options import ExecutionOptions, PlanOptions
from mtbench.execution.planned import Job, PlannedRuns, RunPlanner
from mtbench.hyperparameters import hyperparameters
from mtbench.records.record import RunRecord, analysis_of, error_type
from mtbench.registry import get_optimizer
from mtbench.storage.mirror import fetch_results

TIE = 1e-12
"""Scores that differ by less are equal: only the order of a sum can tell them apart."""
SAMPLERS = ("random", "optuna")


@dataclass(frozen=True)
class SweepRequest:
    """What a user asks for: a matrix, the axes over it, how settings are drawn, and who runs them.

    UsageError for options that do not go together.
    """

    matrix: RunMatrix
    axes: tuple[Axis, ...]
    lines: bool = False
    trials: int | None = None
    sampler: str = "random"
    execution: ExecutionOptions = field(default_factory=ExecutionOptions)

    def __post_init__(self) -> None:
        if self.sampler not in SAMPLERS:
            raise UsageError(f"--sampler {self.sampler!r}: choose {' or '.join(SAMPLERS)}")
        if self.trials is not None and self.trials < 1:
            raise UsageError(f"--trials must be at least 1, got {self.trials}")
        if self.trials is not None and self.lines:
            raise UsageError("--lines and --trials exclude each other: trials are drawn from the whole space")

    @property
    def learns(self) -> bool:
        """Whether the sampler chooses settings by the results of those before."""
        return self.trials is not None and self.sampler == "optuna"

    def points(self) -> list[Point]:
        """The points that are known before anything ran (all but Optuna's)."""
        if self.trials is None:
            return grid_points(self.axes, self.lines)
        return random_points(self.axes, self.trials)


@dataclass
class Setting:
    """One setting of one optimizer: its swept values as resolved, and a job per seed."""

    optimizer: str
    values: dict[str, object]
    jobs: list[Job]
    records: list[RunRecord] = field(default_factory=list)

    @property
    def changes(self) -> int:
        """How many of the swept values are not the defaults of the method or the profile."""
        if not self.jobs:
            return len(self.values)
        run = self.jobs[0].plan.run
        usual = {n: h.default for n, h in hyperparameters(get_optimizer(self.optimizer)).items()}
        path = run.config.encoder.path
        carried = carried_settings(run.request.suite)
        usual |= profile_params(run.request.profile, path, carried).get(self.optimizer, {})
        own = load_profile(run.request.profile, path, carried)
        profile = build_config(merge(own, {"encoder": {"path": path}}), "profile")
        for section in Config.model_fields:
            usual |= {f"{section}.{k}": v for k, v in getattr(profile, section)}
        names = {key: key if key in usual else key.rpartition(".")[2] for key in self.values}
        return sum(value != usual.get(names[key]) for key, value in self.values.items())

    @property
    def complete(self) -> bool:
        """Whether every seed is done."""
        return bool(self.records) and all(r["status"] == "complete" for r in self.records)

    @property
    def selection(self) -> float | None:
        """Mean over seeds of the score on the slice of train; None unless every seed has one."""
        scores = [r.get("selection", {}).get("average") for r in self.records]
        return _mean(scores) if self.complete else None

    @property
    def selection_spread(self) -> float | None:
        """Standard deviation over seeds; None for one seed."""
        scores = [s for r in self.records if (s := r.get("selection", {}).get("average")) is not None]
        return statistics.stdev(scores) if self.selection is not None and len(scores) > 1 else None

    @property
    def average(self) -> float | None:
        """Mean over seeds of the dev average; reported, never chosen on."""
        return _mean([r.get("average") for r in self.records]) if self.complete else None

    @property
    def task_specific(self) -> float | None:
        """Mean over seeds of the share of task-specific parameters; None unless every seed was analysed."""
        parts = [a["entropy"] for r in self.records if (a := analysis_of(r)) is not None]
        whole = len(parts) == len(self.records)
        return _mean([p["task_specific"] / max(1, p["parameters"]) for p in parts]) if whole else None

    @property
    def status(self) -> str:
        """``complete``, or the worst that happened to a seed."""
        found = {r["status"] for r in self.records}
        return next((s for s in ("failed", "interrupted", "running") if s in found), "complete" if found else "planned")


@dataclass
class Sweep:
    """Settings in the order in which they were asked for, and all distinct jobs."""

    request: SweepRequest
    settings: list[Setting]
    planned: PlannedRuns

    def tied(self) -> list[Setting]:
        """The settings with the highest selection score, nearest to the defaults first; empty if none has a score."""
        scores = [s.selection for s in self.settings if s.selection is not None]
        if not scores:
            return []
        found = [s for s in self.settings if s.selection is not None and max(scores) - s.selection < TIE]
        return sorted(found, key=lambda s: s.changes)

    def best(self) -> Setting | None:
        """The highest selection score; of equals the one that changes least of the defaults, then the first."""
        return next(iter(self.tied()), None)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


class SweepPlanner:
    """Turns points into settings; suites, encoders and configurations are read once for all of them."""

    def __init__(self, request: SweepRequest, options: PlanOptions) -> None:
        if options.until not in (None, "evaluate", "analyze"):
            raise UsageError(
                f"--until {options.until}: a sweep chooses by scores, so that it stops after evaluate or after analyze"
            )
        self.request = request
        self._runs = RunPlanner(options, request.matrix.plugins)
        fetch_results(options.results_folder)
        self._jobs: dict[str, Job] = {}

    def settings(self, points: Sequence[Point]) -> list[Setting]:
        """One setting per optimizer and point; points that mean the same (a default written out) are one."""
        found: dict[tuple[str, ...], Setting] = {}
        for point in points:
            matrix = self.request.matrix.with_assignments([f"{key}={value}" for key, value in point.items()])
            by_optimizer: dict[str, list[Job]] = {}
            for request in matrix.requests():
                job = self._runs.plan(request)
                self._check(job)
                job.note = " ".join(f"{k}={v}" for k, v in point.items() if _field(job, k)[0] != "optimizer")
                by_optimizer.setdefault(request.optimizer, []).append(self._jobs.setdefault(job.run_id, job))
            for name, jobs in by_optimizer.items():
                swept = {axis.key: _value(jobs[0], axis.key) for axis in self.request.axes if _has(jobs[0], axis.key)}
                found.setdefault(tuple(j.run_id for j in jobs), Setting(name, swept, jobs))
        return list(found.values())

    def _check(self, job: Job) -> None:
        """Refuse what cannot be chosen among; a run that the scheduler gave up is not taken up by the same sweep."""
        if job.plan.run.config.data.selection_queries == 0:
            raise ConfigError("a sweep chooses on a slice of train, but data.selection_queries is 0; raise it")
        if self.request.execution.scheduler == "none" or job.finished is not None:
            return
        earlier = job.record_in(self._runs.options.results_folder)
        if earlier is not None and error_type(earlier) == "Stopped":
            job.finished = earlier

    def planned(self, settings: Iterable[Setting]) -> PlannedRuns:
        """The jobs of ``settings``, each once."""
        return self._runs.planned(job for setting in settings for job in setting.jobs)

    def sweep(self, settings: list[Setting]) -> Sweep:
        """The sweep over ``settings``."""
        return Sweep(self.request, settings, self.planned(settings))


def plan_sweep(request: SweepRequest, options: PlanOptions) -> Sweep:
    """Check and plan everything that is known before running."""
    planner = SweepPlanner(request, options)
    return planner.sweep(planner.settings(request.points()))


def fill_records(settings: Iterable[Setting], records: Iterable[RunRecord]) -> None:
    """Give each setting the records of its jobs."""
    by_id = {record["run_id"]: record for record in records}
    for setting in settings:
        setting.records = [by_id[job.run_id] for job in setting.jobs]


def _field(job: Job, key: str) -> tuple[str, str]:
    """Where a key points: ``("optimizer", name)`` or ``(section, name)``."""
    section, dot, name = key.rpartition(".")
    return (section, name) if dot and hasattr(job.plan.run.config, section) else ("optimizer", name or key)


def _has(job: Job, key: str) -> bool:
    section, name = _field(job, key)
    owner = key.rpartition(".")[0]
    chosen = job.plan.run.optimizer
    return section != "optimizer" or (owner in ("", chosen["name"]) and name in chosen["params"])


def _value(job: Job, key: str) -> object:
    section, name = _field(job, key)
    if section == "optimizer":
        return job.plan.run.optimizer["params"][name]
    return getattr(getattr(job.plan.run.config, section), name)
