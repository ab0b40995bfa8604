"""The scores that schedulers compare: the suite's metric on the slice of train that settings are chosen on."""

from __future__ import annotations

from collections.abc import Sequence

from mtbench.errors import ConfigError
from mtbench.execution.planned import PlannedRuns
from mtbench.pipeline.request import ResolvedRun
from mtbench.records.record import average
from mtbench.storage.store import Built


def selection_score(run: ResolvedRun, scored: Built) -> float | None:
    """The mean over the tasks that the run trains on, a fraction of 1; None unless every one has its metric."""
    return average(scored.results["selection"], run.trained, run.suite.metric)


def unscored_tasks(run: ResolvedRun, scored: Built) -> list[str]:
    """The tasks trained on that have no slice of train, or no score of the suite's metric on it."""
    found = scored.results["selection"]
    return [name for name in run.trained if run.suite.metric not in found.get(name, {}).get("metrics", {})]


def check_scored(planned: PlannedRuns) -> None:
    """ConfigError where a model in the store shows that runs get no score to be compared by."""
    for job in planned.waiting:
        for stage in job.plan.evaluations:
            scored = planned.store.glance(stage.name, stage.key)
            missing = unscored_tasks(job.plan.run, scored) if scored is not None else []
            if missing:
                raise ConfigError(no_score(job.plan.run.suite.metric, missing))


def no_score(metric: str, tasks: Sequence[str]) -> str:
    """Why a scheduler cannot work, and what to do."""
    return (
        f"--scheduler asha compares settings by {metric} on a slice of train, but {', '.join(tasks)} "
        f"{'has' if len(tasks) == 1 else 'have'} no such score\n"
        "  A task needs at least 10 judged training queries, and search.depth must reach the metric's cut-off; "
        "or leave --scheduler out."
    )
