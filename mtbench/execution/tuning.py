"""Tuning with equal budgets: so many settings for each method alike, chosen on train, scored on seeds of their own.

The choice is made on the slice of train that is never trained on, over the selection seeds. Each method's winner then
runs over the final seeds, which no choice has seen; these records say in their specification how they were tuned.
Nothing is kept beside stages and records: the same command goes on where it stopped, and a larger budget computes only
the trials that are new.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from mtbench.errors import ConfigError, UsageError
from mtbench.execution.executors import Executor
from mtbench.execution.matrix import RunMatrix
from mtbench.execution.options import ExecutionOptions, PlanOptions
from mtbench.execution.planned import Job, PlannedRuns, RunPlanner
from mtbench.execution.sweep_plan import TIE, Setting, fill_records
from mtbench.execution.tune_space import trial_points
from mtbench.records.files import write_record
from mtbench.records.record import BASELINES, RunRecord
from mtbench.records.values import JsonObject
from mtbench.storage.mirror import fetch_results, offer_results


@dataclass(frozen=True)
class TuneRequest:
    """What a user asks for. ``matrix``: the methods, with the seeds that settings are chosen on.

    UsageError for a budget, methods or seeds that tuning cannot use.
    """

    matrix: RunMatrix
    trials: int
    final_seeds: Sequence[int]
    execution: ExecutionOptions = field(default_factory=ExecutionOptions)

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise UsageError(f"--trials must be at least 1, got {self.trials}")
        fixed = [name for name in self.matrix.optimizers if name in BASELINES]
        if fixed:
            raise UsageError(f"--optimizer {fixed[0]}: it is not trained, so that there is nothing to tune")
        dataclasses.replace(self.matrix, seeds=self.final_seeds)  # checks them
        shared = sorted(set(self.matrix.seeds) & set(self.final_seeds))
        if shared:
            raise UsageError(
                f"--seeds and --final-seeds share {', '.join(map(str, shared))}: a setting that was chosen on a seed "
                "looks better there than it is\n  Take other seeds for the final runs."
            )

    @property
    def methods(self) -> list[str]:
        """The methods, each once."""
        return list(dict.fromkeys(self.matrix.optimizers))

    @property
    def note(self) -> JsonObject:
        """What the specification of a winner says."""
        return {"trials": self.trials, "seeds": list(self.matrix.seeds)}


@dataclass
class Tuned:
    """One method: its trials (the first is the default), and its winner over the final seeds once it is known."""

    optimizer: str
    trials: list[Setting]
    final: Setting | None = None

    @property
    def winner(self) -> Setting | None:
        """The highest score on the slice of train; of equals the default, then the earlier trial. None without any."""
        scores = [s.selection for s in self.trials if s.selection is not None]
        return next((s for s in self.trials if s.selection is not None and max(scores) - s.selection < TIE), None)


class Tuner:
    """Plans trials and final runs; suites, encoders and configurations are read once for all of them."""

    def __init__(self, request: TuneRequest, options: PlanOptions) -> None:
        if options.until not in (None, "evaluate"):
            raise UsageError(f"--until {options.until}: tuning chooses by scores, so that it stops after evaluate")
        self.request = request
        self._runs = RunPlanner(options, request.matrix.plugins)
        fetch_results(options.results_folder)
        self._jobs: dict[str, Job] = {}
        self.tuned = [self._tuned(name) for name in request.methods]

    def _tuned(self, name: str) -> Tuned:
        run = self._setting(name, {}).jobs[0].plan.run
        if run.config.data.selection_queries == 0:
            raise ConfigError("tuning chooses on a slice of train, but data.selection_queries is 0; raise it")
        points = trial_points(name, self.request.trials, run.config.train, [task.name for task in run.suite.tasks])
        return Tuned(name, [self._setting(name, point) for point in points])

    def _setting(self, name: str, point: dict[str, str], seeds: Sequence[int] = ()) -> Setting:
        """A setting over the selection seeds, or over ``seeds`` as a winner."""
        matrix = self.request.matrix.with_assignments([f"{key}={value}" for key, value in point.items()])
        if seeds:
            matrix = dataclasses.replace(matrix, seeds=seeds)
        jobs = []
        for request in matrix.requests():
            if request.optimizer == name:
                job = self._runs.plan(dataclasses.replace(request, tuned=self.request.note) if seeds else request)
                job.note = " ".join(f"{k}={v}" for k, v in point.items() if k.startswith("train."))
                jobs.append(self._jobs.setdefault(job.run_id, job))
        return Setting(name, dict(point), jobs)

    def planned(self, settings: Iterable[Setting]) -> PlannedRuns:
        """The jobs of ``settings``, each once."""
        return self._runs.planned(job for setting in settings for job in setting.jobs)

    def expected(self) -> PlannedRuns:
        """All runs, with the defaults in the winners' place: which they are is not known before the trials."""
        trials = [setting for tuned in self.tuned for setting in tuned.trials]
        finals = [self._setting(tuned.optimizer, {}, self.request.final_seeds) for tuned in self.tuned]
        return self.planned([*trials, *finals])

    def run(self, executor: Executor) -> None:
        """Do the trials, then the winners over the final seeds; a method without a score has no winner."""
        trials = [setting for tuned in self.tuned for setting in tuned.trials]
        fill_records(trials, executor.run(self.planned(trials)))
        for tuned in self.tuned:
            if tuned.winner is not None:
                point = {key: str(value) for key, value in tuned.winner.values.items()}
                tuned.final = self._setting(tuned.optimizer, point, self.request.final_seeds)
        finals = [tuned.final for tuned in self.tuned if tuned.final is not None]
        if finals:
            fill_records(finals, executor.run(self.planned(finals)))
        results = self._runs.options.results_folder
        for record in (r for setting in finals for r in setting.records):
            if record["status"] == "complete" and record.get("tuning", {}).get("trials") != self.request.trials:
                record["tuning"] = {**record.get("tuning", {}), "trials": self.request.trials}
                write_record(results, record)
        offer_results(results)

    @property
    def records(self) -> list[RunRecord]:
        """Those of all trials and of the winners."""
        done = [s for tuned in self.tuned for s in (*tuned.trials, *([tuned.final] if tuned.final else []))]
        return [record for setting in done for record in setting.records]
