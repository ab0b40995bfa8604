"""From requests to jobs: each run resolved, planned and found finished or not, and where its results go."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mtbench.execution.matrix import RunMatrix
from mtbench.execution.options import PlanOptions
from mtbench.execution.parents import with_parent
from mtbench.hyperparameters import hyperparameters
from mtbench.pipeline.feasible import check_feasible
from mtbench.pipeline.plan import Plan, make_plan
from mtbench.pipeline.request import RunRequest
from mtbench.pipeline.resolver import Resolver
from mtbench.protocols.labels import run_label
from mtbench.records.files import read_record
from mtbench.records.identity import record_path, run_id
from mtbench.records.record import RunRecord, error_type
from mtbench.registry import add_plugin_files, get_optimizer
from mtbench.storage.mirror import fetch_results
from mtbench.storage.store import Store
from mtbench.suite import Suite

MENDED_BY_USER = ("DataError", "ConfigError", "StoreError")
"""Errors that asking again is an answer to: such a failed run counts as missing."""


@dataclass
class Job:
    """One run to do."""

    plan: Plan
    run_id: str
    finished: RunRecord | None = None
    """The record of an earlier call that makes this one unnecessary."""
    note: str = ""
    """What a sweep varies beside hyperparameters, such as ``train.lr=0.001``."""

    @property
    def label(self) -> str:
        """For people: optimizer, what differs from its defaults, seed."""
        chosen = self.plan.run.optimizer
        text = str(chosen["name"])
        if chosen["params"]:
            defaults = {n: h.default for n, h in hyperparameters(get_optimizer(text)).items()}
            changed = [f"{k}={v}" for k, v in chosen["params"].items() if v != defaults[k]]
            text += f" ({', '.join(changed)})" if changed else ""
        text = run_label(self.plan.run.protocol, text)
        text += f" {self.note}" if self.note else ""
        return f"{text} seed {self.plan.run.request.seed}"

    def record_in(self, results: Path) -> RunRecord | None:
        """Its record below ``results``; None if there is none that can be read."""
        path = record_path(results, self.plan.run.specification, self.run_id)
        loaded = read_record(path) if path.is_file() else None
        return loaded.record if loaded is not None and loaded.usable else None


@dataclass
class PlannedRuns:
    """Jobs that have been checked and planned, the store and the results that they go to, and where they stop."""

    jobs: list[Job]
    store: Store
    results: Path
    until: str | None = None

    @property
    def waiting(self) -> list[Job]:
        """The jobs that an executor has to run."""
        return [job for job in self.jobs if job.finished is None]

    def in_order(self, computed: Iterable[RunRecord]) -> list[RunRecord]:
        """The records of all jobs: those that stand already, and those just computed."""
        by_id = {record["run_id"]: record for record in computed}
        return [job.finished or by_id[job.run_id] for job in self.jobs]


class RunPlanner:
    """Plans requests; suites, encoders and configurations are read once for all of them."""

    def __init__(self, options: PlanOptions, plugins: Sequence[str] = ()) -> None:
        add_plugin_files(list(plugins))
        self.options, self.store = options, Store(options.store_folder)
        self._resolver = Resolver(options.store_folder, declared=options.declared)

    def suite(self, request: RunRequest) -> Suite:
        """The suite of a request."""
        return self._resolver.suite(request.settled())

    def plan(self, request: RunRequest) -> Job:
        """Resolve and plan one run; if an earlier call finished it (as far as ``until``), it carries its record."""
        request = with_parent(request, self._resolver.config(request), self.options.results_folder)
        run = self._resolver.resolve(request.settled())
        path = run.config.encoder.path
        if Path(path).is_absolute():  # also one that a profile or --set names from here
            run = dataclasses.replace(run, request=dataclasses.replace(run.request, encoder=path))
        if not run.missing:  # nothing has been counted yet
            check_feasible(run)
        plan = make_plan(run)
        job = Job(plan, run_id(plan.run.specification))
        job.finished = self._finished(job)
        return job

    def planned(self, jobs: Iterable[Job]) -> PlannedRuns:
        """The jobs, each run once."""
        unique: dict[str, Job] = {}
        for job in jobs:
            unique.setdefault(job.run_id, job)
        return PlannedRuns(list(unique.values()), self.store, self.options.results_folder, self.options.until)

    def _finished(self, job: Job) -> RunRecord | None:
        record = job.record_in(self.options.results_folder)
        if record is None or self.options.rerun == "all":
            return None
        if record["status"] == "failed" and error_type(record) in MENDED_BY_USER:
            return None  # whoever asks again has mended the data or the disk
        done = {"complete"} if self.options.rerun == "failed" else {"complete", "failed"}
        if record["status"] not in done:
            return None
        return record if self.options.until != "analyze" or _is_analysed(record, job.plan) else None


def _is_analysed(record: RunRecord, plan: Plan) -> bool:
    """Whether the record has the plan's analysis, whose settings are no part of its id; baselines have none."""
    wanted = {stage.key for stage in plan.stages if stage.name == "analyze"}
    return wanted <= {stage["fingerprint"] for stage in record["stages"]}


def plan_runs(matrix: RunMatrix, options: PlanOptions) -> PlannedRuns:
    """Check everything and plan every run; nothing is computed but the text of a generated suite."""
    planner = RunPlanner(options, matrix.plugins)
    fetch_results(options.results_folder)
    planned = planner.planned([planner.plan(request) for request in matrix.requests(planner.suite)])
    for job in planned.jobs:
        # a clone comes with records; only what this store has scored stands in for a run here
        is_complete = job.finished is not None and job.finished["status"] == "complete"
        if is_complete and not all(planner.store.has(stage.name, stage.key) for stage in job.plan.ends):
            job.finished = None
    return planned
