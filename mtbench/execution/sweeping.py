"""A sweep: settings of one or several optimizers, each run over all seeds, and the choice among them.

The choice is made on the slice of the training queries that is never trained on (``record["selection"]``), never on
dev. The sweep keeps nothing of its own: stages are in the store, numbers in the records, so that the same command
goes on where it stopped and more values compute only what is new.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mtbench.errors import ConfigError, UsageError
from mtbench.execution.api import Prepared
from mtbench.execution.grid import Axis, Point, grid_points, random_points
from mtbench.execution.work import Job, Order, Rerun, make_jobs, requests
from mtbench.pipeline.request import Resolver
from mtbench.records.files import load_records, read_record, record_path, run_id, write_record
from mtbench.registry import add_plugin_files
from mtbench.storage.mirror import fetch_results, offer_results
from mtbench.storage.places import default_root, expanded
from mtbench.storage.store import Store

SAMPLERS = ("random", "optuna")
SCHEDULERS = ("none", "asha")

Execute = Callable[[Prepared], list[dict[str, Any]]]


@dataclass(frozen=True)
class SweepOrder:
    """What a user asks for: an order, and the axes over it."""

    order: Order
    axes: tuple[Axis, ...]
    lines: bool = False
    trials: int | None = None
    sampler: str = "random"
    scheduler: str = "none"

    def check(self) -> None:
        """UsageError for options that do not go together."""
        if self.sampler not in SAMPLERS:
            raise UsageError(f"--sampler {self.sampler!r}: choose {' or '.join(SAMPLERS)}")
        if self.trials is not None and self.trials < 1:
            raise UsageError(f"--trials must be at least 1, got {self.trials}")
        if self.trials is not None and self.lines:
            raise UsageError("--lines and --trials exclude each other: trials are drawn from the whole space")

    def points(self) -> list[Point]:
        """The points that are known before anything ran (all but Optuna's)."""
        if self.trials is None:
            return grid_points(self.axes, self.lines)
        return random_points(self.axes, self.trials)


@dataclass
class Setting:
    """One setting of one optimizer: its swept values as resolved, and a job per seed."""

    optimizer: str
    values: dict[str, Any]
    jobs: list[Job]
    records: list[dict[str, Any]] = field(default_factory=list)

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
        scores = [r.get("selection", {}).get("average") for r in self.records]
        return statistics.stdev(scores) if self.selection is not None and len(scores) > 1 else None

    @property
    def average(self) -> float | None:
        """Mean over seeds of the dev average; reported, never chosen on."""
        return _mean([r.get("average") for r in self.records]) if self.complete else None

    @property
    def status(self) -> str:
        """``complete``, or the worst that happened to a seed."""
        found = {r["status"] for r in self.records}
        return next((s for s in ("failed", "interrupted", "running") if s in found), "complete" if found else "planned")


@dataclass
class Sweep:
    """Settings in the order in which they were asked for, and all distinct jobs."""

    order: SweepOrder
    settings: list[Setting]
    prepared: Prepared

    def best(self) -> Setting | None:
        """The highest selection score; of equals the first."""
        return max(
            (s for s in self.settings if s.selection is not None), key=lambda s: s.selection or 0.0, default=None
        )


def check_scheduler(name: str, executor: str) -> None:
    """UsageError for an unknown scheduler, or one that needs Ray Tune."""
    if name not in SCHEDULERS:
        raise UsageError(f"--scheduler {name!r}: choose {' or '.join(SCHEDULERS)}")
    if name != "none" and executor != "ray":
        raise UsageError(f"--scheduler {name} stops runs that go on side by side; it needs --executor ray")


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


class Planner:
    """Turns points into settings; suites, encoders and configurations are read once for all of them."""

    def __init__(self, order: SweepOrder, store: str | Path | None, results: str | Path, rerun: Rerun) -> None:
        order.check()
        add_plugin_files(list(order.order.plugins))
        root = expanded(store) if store else default_root()
        self.order, self.rerun = order, rerun
        self.store, self.results = Store(root), expanded(results)
        fetch_results(self.results)
        self._resolver = Resolver(root)
        self._jobs: dict[str, Job] = {}

    def settings(self, points: Sequence[Point]) -> list[Setting]:
        """One setting per optimizer and point; points that mean the same (a default written out) are one."""
        found: dict[tuple[str, ...], Setting] = {}
        for point in points:
            by_optimizer: dict[str, list[Job]] = {}
            for request in requests(self._order_at(point)):
                [job] = make_jobs([request], self._resolver, self.results, self.rerun)
                self._check_selection(job)
                if self.order.scheduler != "none" and job.finished is None:
                    job.finished = self._stopped_before(job)
                job.note = " ".join(f"{k}={v}" for k, v in point.items() if _field(job, k)[0] != "optimizer")
                by_optimizer.setdefault(request.optimizer, []).append(self._jobs.setdefault(job.run_id, job))
            for name, jobs in by_optimizer.items():
                values = {axis.key: _value(jobs[0], axis.key) for axis in self.order.axes if _has(jobs[0], axis.key)}
                found.setdefault(tuple(j.run_id for j in jobs), Setting(name, values, jobs))
        return list(found.values())

    def _order_at(self, point: Point) -> Order:
        order = self.order.order
        assignments = [*order.assignments, *(f"{key}={value}" for key, value in point.items())]
        return dataclasses.replace(order, assignments=assignments, baselines=())

    def _check_selection(self, job: Job) -> None:
        if job.plan.run.config.data.selection_queries == 0:
            raise ConfigError("a sweep chooses on a slice of train, but data.selection_queries is 0; raise it")

    def _stopped_before(self, job: Job) -> dict[str, Any] | None:
        """The record of a run that the scheduler gave up: it is not taken up again by the same sweep."""
        path = record_path(self.results, job.plan.run.specification, job.run_id)
        loaded = read_record(path) if path.exists() else None
        if loaded is None or not loaded.usable or (loaded.record.get("error") or {}).get("type") != "Stopped":
            return None
        return loaded.record

    def sweep(self, settings: list[Setting]) -> Sweep:
        """The sweep over ``settings``, its jobs each once."""
        jobs = {job.run_id: job for setting in settings for job in setting.jobs}
        return Sweep(self.order, settings, Prepared(list(jobs.values()), self.store, self.results))


def plan_sweep(order: SweepOrder, store: str | Path | None, results: str | Path, rerun: Rerun = "missing") -> Sweep:
    """Check and plan everything that is known before running."""
    planner = Planner(order, store, results, rerun)
    return planner.sweep(planner.settings(order.points()))


def run_sweep(
    order: SweepOrder, store: str | Path | None, results: str | Path, rerun: Rerun, execute: Execute, round_size: int
) -> Sweep:
    """Run the sweep by ``execute`` and return it with its records; Optuna is asked ``round_size`` points at a time."""
    planner = Planner(order, store, results, rerun)
    if order.trials is not None and order.sampler == "optuna":
        from mtbench.execution.optuna_rounds import optuna_settings

        sweep = planner.sweep(optuna_settings(planner, execute, round_size))
    else:
        sweep = planner.sweep(planner.settings(order.points()))
        fill_records(sweep.settings, execute(sweep.prepared))
    _note_trials(sweep)
    offer_results(sweep.prepared.results)
    return sweep


def fill_records(settings: list[Setting], records: list[dict[str, Any]]) -> None:
    """Give each setting the records of its jobs."""
    by_id = {record["run_id"]: record for record in records}
    for setting in settings:
        setting.records = [by_id[job.run_id] for job in setting.jobs]


def _note_trials(sweep: Sweep) -> None:
    """Write into each finished record how many settings of its optimizer were tried, earlier sweeps included.

    It stands beside the specification, so that the run keeps its identity.
    """
    for name in dict.fromkeys(s.optimizer for s in sweep.settings):
        mine = [s for s in sweep.settings if s.optimizer == name]
        spec = mine[0].jobs[0].plan.run.specification
        tried = {_without_seed(s.jobs[0].plan.run.specification) for s in mine} | _tried_before(sweep, spec)
        for record in (r for s in mine for r in s.records):
            if record["status"] == "complete" and record.get("tuning", {}).get("trials") != len(tried):
                record["tuning"] = {**record.get("tuning", {}), "trials": len(tried)}
                write_record(sweep.prepared.results, record)


def _tried_before(sweep: Sweep, spec: dict[str, Any]) -> set[str]:
    place = f"{spec['suite']}@{spec['suite_version']}"
    loaded = load_records(sweep.prepared.results, suite=place, profile=spec["profile"], summary=True)
    return {
        _without_seed(item.record["spec"])
        for item in loaded
        if item.usable
        and item.record.get("tuning", {}).get("trials")
        and item.record["spec"]["optimizer"]["name"] == spec["optimizer"]["name"]
        and item.record["spec"].get("limit") == spec["limit"]
    }


def _without_seed(spec: dict[str, Any]) -> str:
    return run_id({**spec, "seed": 0})


def _field(job: Job, key: str) -> tuple[str, str]:
    """Where a key points: ``("optimizer", name)`` or ``(section, name)``."""
    section, dot, name = key.rpartition(".")
    return (section, name) if dot and hasattr(job.plan.run.config, section) else ("optimizer", name or key)


def _has(job: Job, key: str) -> bool:
    section, name = _field(job, key)
    owner = key.rpartition(".")[0]
    chosen = job.plan.run.optimizer
    return section != "optimizer" or (owner in ("", chosen["name"]) and name in chosen["params"])


def _value(job: Job, key: str) -> Any:
    section, name = _field(job, key)
    if section == "optimizer":
        return job.plan.run.optimizer["params"][name]
    return getattr(getattr(job.plan.run.config, section), name)
