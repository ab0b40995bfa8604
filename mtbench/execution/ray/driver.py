"""The driver's side of Ray Tune: which unit starts next, what is shown, and which record is written.

Tune places units on nodes, gives them their share of GPUs and restarts what died. It remembers nothing that matters:
the graph of units is made from the store at every call, and the results are records.
"""

from __future__ import annotations

import shutil
import time
import uuid
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.schedulers import ASHAScheduler, TrialScheduler
from ray.tune.search import Searcher

from mtbench.errors import RunError
from mtbench.execution.api import Prepared
from mtbench.execution.progress import Reporter
from mtbench.execution.ray.tune import Share
from mtbench.execution.ray.worker import records_folder, work
from mtbench.execution.schedule import Progress, Unit, make_units
from mtbench.pipeline.assemble import skeleton
from mtbench.records.errors import shorten_paths
from mtbench.records.files import read_record, record_path, write_record

RETRIES = 3
"""Restarts of a unit whose worker died or raised what has no name."""


class Driver:
    """One experiment: units out, records in."""

    def __init__(
        self, prepared: Prepared, until: str | None, reporter: Reporter, at_once: int | None, share: Share
    ) -> None:
        self.prepared, self.until, self.reporter, self.share = prepared, until, reporter, share
        waiting = [job for job in prepared.jobs if job.finished is None]
        self.units = make_units(waiting, prepared.store, until)
        self.progress = Progress(self.units, at_once)
        self.name = f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"
        self.store = prepared.store.root.resolve()
        self.outbox = records_folder(self.store, self.name)
        self.records: dict[str, dict[str, Any]] = {}
        self.errors: dict[int, dict[str, Any]] = {}
        self._total = len(waiting)

    def config(self, unit: Unit) -> dict[str, Any]:
        """What a worker gets."""
        return {
            "unit": unit.number,
            "request": unit.job.plan.run.request.to_json(),
            "stages": [stage.key for stage in unit.stages],
            "run_id": unit.job.run_id,
            "until": self.until,
            "store": str(self.store),
            "records": str(self.outbox),
            "ranks": self.share.ranks,
        }

    def started(self, unit: Unit) -> None:
        """A worker has begun (or begun again)."""
        if unit.is_run:
            ended = len(self.records) + 1
            self.reporter.run_started(unit.label, min(ended, self._total), self._total)
        self.reporter.advance(unit.number, unit.label, {"stage": "starting"})

    def advanced(self, unit: Unit, report: dict[str, Any]) -> None:
        """A worker reports."""
        if report.get("failed"):
            self.errors[unit.number] = report["failed"]
        elif report.get("stage"):
            self.reporter.advance(unit.number, unit.label, report)

    def ended(self, unit: Unit, error: dict[str, Any] | None) -> None:
        """A unit is done, or failed for good: its record is written, and those of runs that cannot start now."""
        self.reporter.gone(unit.number)
        error = error or self.errors.get(unit.number)
        lost = self.progress.finish(unit.number, error is not None)
        if unit.is_run:
            self._take_record(unit, error)
        elif error is not None:
            self.reporter.run_failed(unit.label, error["message"])
        for other in lost:
            if other.is_run:
                self._take_record(other, error)

    def _take_record(self, unit: Unit, error: dict[str, Any] | None) -> None:
        record = self._left_by_worker(unit)
        if error is not None and record["status"] != "complete":
            record.update(status="failed", error=record["error"] or error)
            self.reporter.run_failed(unit.label, record["error"]["message"])
        elif record["status"] == "running":
            message = "stopped by the scheduler: others were ahead on the slice of train"
            record.update(status="interrupted", error={"type": "Stopped", "message": message, "traceback": []})
            self.reporter.line(f"      {unit.label}: {message}")
        else:
            self.reporter.run_finished(unit.label, record)
        self.records[unit.job.run_id] = record
        write_record(self.prepared.results, record)

    def _left_by_worker(self, unit: Unit) -> dict[str, Any]:
        path = record_path(self.outbox, unit.job.plan.run.specification, unit.job.run_id)
        loaded = read_record(path) if path.is_file() else None
        if loaded is not None and loaded.usable:
            return loaded.record
        return skeleton(
            unit.job.plan, unit.job.run_id, "running", time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
        )

    def interrupted(self) -> None:
        """Say so in the records of the runs that were under way."""
        for unit in self.units:
            if unit.is_run and unit.job.run_id not in self.records:
                path = record_path(self.outbox, unit.job.plan.run.specification, unit.job.run_id)
                if path.is_file():
                    record = self._left_by_worker(unit)
                    record["status"] = "interrupted"
                    write_record(self.prepared.results, record)

    def in_order(self) -> list[dict[str, Any]]:
        """The records of all jobs."""
        return [job.finished or self.records[job.run_id] for job in self.prepared.jobs]


class UnitSearcher(Searcher):
    """Hands Tune the next unit that can start. Tune may copy or save it: the state is the driver's and stays there."""

    def __init__(self, driver: Driver) -> None:
        super().__init__()
        self._driver = driver

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        return True

    def suggest(self, trial_id: str) -> Any:
        unit = self._driver.progress.start()
        if unit is not None:
            return self._driver.config(unit)
        return Searcher.FINISHED if self._driver.progress.exhausted else None

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        pass  # Watcher.on_trial_complete and on_trial_error see the trial itself

    def save(self, checkpoint_path: str) -> None:
        pass

    def restore(self, checkpoint_path: str) -> None:
        pass

    def __deepcopy__(self, memo: dict[int, Any]) -> UnitSearcher:
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {}


class Watcher(tune.Callback):
    """Tells the driver what happens to trials."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def _unit(self, trial: Any) -> Unit:
        return self._driver.progress.units[trial.config["unit"]]

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._driver.started(self._unit(trial))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        self._driver.advanced(self._unit(trial), result)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        unit = self._unit(trial)
        error = _error_of(trial, self._driver.store)
        self._driver.reporter.line(f"      {unit.label}: {error['message']}; it goes on from its last checkpoint")

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._driver.ended(self._unit(trial), None)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._driver.ended(self._unit(trial), _error_of(trial, self._driver.store))


def _error_of(trial: Any, root: Path) -> dict[str, Any]:
    """From the text that Tune keeps (its pickled form is not read)."""
    try:
        text = Path(trial.error_file).read_text(encoding="utf-8") if trial.error_file else ""
    except OSError:
        text = ""
    lines = [shorten_paths(line, {root: "<store>"}) for line in text.strip().splitlines()]
    return {
        "type": "WorkerDied" if "ActorDiedError" in text or "ActorUnavailable" in text else "RunError",
        "message": lines[-1] if lines else "the worker ended without a word",
        "traceback": lines[-12:],
    }


def run_experiment(driver: Driver, placement: dict[str, float], scheduler: TrialScheduler | None) -> None:
    """Carry out all units. KeyboardInterrupt if the user stopped it; RunError if Tune gave up for its own reasons."""
    storage = driver.store / "ray"
    storage.mkdir(parents=True, exist_ok=True)
    tuner = tune.Tuner(
        tune.with_resources(work, placement),
        tune_config=tune.TuneConfig(
            num_samples=len(driver.units),
            search_alg=UnitSearcher(driver),
            scheduler=scheduler,
            reuse_actors=True,
            trial_name_creator=lambda trial: str(trial.trial_id),
            trial_dirname_creator=lambda trial: str(trial.trial_id),
        ),
        run_config=tune.RunConfig(
            name=driver.name,
            storage_path=str(storage),
            verbose=0,
            callbacks=[Watcher(driver)],
            failure_config=tune.FailureConfig(max_failures=RETRIES),
        ),
    )
    try:
        tuner.fit()
        if driver.progress.unfinished:
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        driver.interrupted()
        raise
    except tune.TuneError as error:
        driver.interrupted()
        raise RunError(f"Ray Tune stopped: {str(error).splitlines()[0]}") from error
    finally:
        shutil.rmtree(storage / driver.name, ignore_errors=True)
        shutil.rmtree(driver.outbox, ignore_errors=True)


def make_scheduler(name: str, prepared: Prepared) -> TrialScheduler | None:
    """ASHA over episodes: from the first in which the optimizer acts; before it all settings are alike."""
    if name == "none":
        return None
    configs = [job.plan.run.config for job in prepared.jobs]
    last = max(config.train.episodes for config in configs)
    first = max(1, min(config.first_acting_episode for config in configs))
    return ASHAScheduler(
        time_attr="episode",
        metric="selection",
        mode="max",
        max_t=max(last, 2),
        grace_period=min(first, max(last, 2)),
        reduction_factor=2,
        stop_last_trials=False,
    )
