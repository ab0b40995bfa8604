"""An experiment on a Ray that is connected: Tune places units on nodes, gives them their share of GPUs and restarts
what died.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import cast

import ray
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, TrialScheduler
from ray.tune.search import Searcher

from mtbench.errors import MtbenchError, RunError
from mtbench.execution.options import ExecutionOptions
from mtbench.execution.planned import PlannedRuns
from mtbench.execution.progress import Reporter
from mtbench.execution.ray.driver import Driver
from mtbench.execution.ray.messages import UnitReport
from mtbench.execution.ray.selection import check_scored
from mtbench.execution.ray.share import share_of
from mtbench.execution.ray.worker import run_trial
from mtbench.execution.schedule import Unit
from mtbench.records.errors import shorten_paths
from mtbench.records.record import ErrorInfo, RunRecord

RETRIES = 3
"""Restarts of a unit whose worker died or raised what has no name."""


def run_experiment(planned: PlannedRuns, options: ExecutionOptions, reporter: Reporter) -> list[RunRecord]:
    """The records of the jobs that wait; shared stages are computed once and first.

    UsageError if the cluster can never hold a run, ConfigError if the scheduler gets no scores, KeyboardInterrupt
    on Ctrl-C (with the records saying so), RunError if Tune gave up for its own reasons.
    """
    scheduler = make_scheduler(options.scheduler, planned)
    share, text = share_of(ray.cluster_resources(), options)
    reporter.line(f"Ray{'' if options.address is None else ' at ' + options.address}: {text}")
    driver = Driver(planned, options, share, reporter)
    run_units(driver, scheduler)
    return list(driver.records.values())


class UnitSearcher(Searcher):
    """Hands Tune the next unit that can start. Tune may copy or save it: the state is the driver's and stays there."""

    def __init__(self, driver: Driver) -> None:
        super().__init__()
        self._driver = driver

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, object], **spec: object
    ) -> bool:
        return True

    def suggest(self, trial_id: str) -> dict[str, object] | None:
        config = self._driver.next_config()
        if config is not None:
            return dict(config)
        return cast("None", Searcher.FINISHED) if self._driver.exhausted else None

    def on_trial_complete(self, trial_id: str, result: dict[str, object] | None = None, error: bool = False) -> None:
        pass  # Watcher.on_trial_complete and on_trial_error see the trial itself

    def save(self, checkpoint_path: str) -> None:
        pass

    def restore(self, checkpoint_path: str) -> None:
        pass

    def __deepcopy__(self, memo: dict[int, object]) -> UnitSearcher:
        return self

    def __getstate__(self) -> dict[str, object]:
        return {}


class Watcher(tune.Callback):
    """Tells the driver what happens to trials."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def __getstate__(self) -> dict[str, object]:
        return {}

    def _unit(self, trial: Trial) -> Unit:
        return self._driver.queue.units[trial.config["unit"]]

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: object) -> None:
        self._driver.started(self._unit(trial))

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, object], **info: object
    ) -> None:
        self._driver.advanced(self._unit(trial), cast("UnitReport", result))

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: object) -> None:
        unit = self._unit(trial)
        error = _error_of(trial, self._driver.store)
        self._driver.reporter.line(f"      {unit.label}: {error['message']}; it goes on from its last checkpoint")

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: object) -> None:
        self._driver.ended(self._unit(trial), None)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: object) -> None:
        self._driver.ended(self._unit(trial), _error_of(trial, self._driver.store))


def _error_of(trial: Trial, root: Path) -> ErrorInfo:
    """From the text that Tune keeps (its pickled form is not read)."""
    try:
        text = Path(trial.error_file).read_text(encoding="utf-8") if trial.error_file else ""
    except OSError:
        text = ""
    lines = [shorten_paths(line, {root: "<store>"}) for line in text.strip().splitlines()]
    return {
        "type": "WorkerDied" if "ActorDiedError" in text or "ActorUnavailable" in text else "RunError",
        "message": lines[-1] if lines else "the worker ended without an error message",
        "traceback": lines[-12:],
    }


class Refusal(tune.Stopper):
    """Ends an experiment that a mistake has stopped, or whose scheduler cannot work."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def __call__(self, trial_id: str, result: dict[str, object]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._driver.refusal is not None

    def __getstate__(self) -> dict[str, object]:
        return {}


def run_units(driver: Driver, scheduler: TrialScheduler | None) -> None:
    """Run all units of an experiment; errors as of :func:`run_experiment`."""
    storage = driver.store / "ray"
    driver.outbox.mkdir(parents=True, exist_ok=True)
    tuner = tune.Tuner(
        tune.with_resources(run_trial, driver.share.placement()),
        tune_config=tune.TuneConfig(
            num_samples=len(driver.queue.units),
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
            stop=Refusal(driver),
            callbacks=[Watcher(driver)],
            failure_config=tune.FailureConfig(max_failures=RETRIES),
        ),
    )
    try:
        tuner.fit()
        if driver.refusal is not None:
            raise driver.refusal
        if driver.queue.unfinished:
            raise KeyboardInterrupt
    except (KeyboardInterrupt, MtbenchError):
        driver.interrupted()
        raise
    except tune.TuneError as error:
        driver.interrupted()
        raise RunError(f"Ray Tune stopped: {str(error).splitlines()[0]}") from error
    finally:
        shutil.rmtree(storage / driver.name, ignore_errors=True)
        take_away(driver.outbox)


def take_away(outbox: Path) -> None:
    """Under another name first: a worker that Tune has stopped may live long enough to write once more."""
    gone = outbox.with_name(f"{outbox.name}-gone")
    with contextlib.suppress(OSError):
        outbox.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def make_scheduler(name: str, planned: PlannedRuns) -> TrialScheduler | None:
    """ASHA over episodes: from the first in which the optimizer acts; before it all settings are alike.

    ConfigError where the store shows that runs will have no score to be compared by.
    """
    if name == "none":
        return None
    check_scored(planned)
    configs = [job.plan.run.config for job in planned.jobs]
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
