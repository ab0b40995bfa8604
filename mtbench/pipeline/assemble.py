"""From finished stages to the record of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import cast

from mtbench.computing import threads
from mtbench.evaluation.scores import SCORES_FILE
from mtbench.pipeline.context import Context
from mtbench.pipeline.downstream import add_downstream
from mtbench.pipeline.plan import Plan, Stage
from mtbench.pipeline.warnings import run_warnings
from mtbench.records.curves import ByTask, CurveName, EpisodeCurves, HistoryEntry, Training, TrainingSummary
from mtbench.records.environment import environment
from mtbench.records.identity import new_record
from mtbench.records.record import Cost, RunRecord, Selection, StageEntry, TaskResult, average
from mtbench.storage.store import Built
from mtbench.training.diagnostics import LoggedStep

MAX_POINTS = 40
"""Points of a learning curve that a record keeps; the whole journal stays in the store."""

Stages = dict[str, Built]
"""Fingerprint -> what stands in the store."""


def begin(plan: Plan) -> RunRecord:
    """The record before anything is known."""
    return new_record(plan.run.specification, plan.run.suite.metric, environment(threads(plan.run.config)))


def complete(record: RunRecord, plan: Plan, context: Context, built: Stages) -> RunRecord:
    """Fill a record from the stages that were computed or reused."""
    stages = [s for s in plan.stages if s.key in built]
    record["stages"] = [_entry(s, built[s.key]) for s in stages]
    record["cost"] = _cost(stages, built)
    record["training"] = _training(context, plan, built)
    record["negatives"] = {
        s.label: built[s.key].results["negatives"] for s in stages if "negatives" in built[s.key].results
    }
    record["history"] = [_history(plan, s, built) for s in plan.evaluations if s.key in built]
    if plan.final.key in built:
        _add_scores(record, plan, built[plan.final.key])
    if plan.reading is not None and plan.reading.key in built:
        add_downstream(record, plan, plan.reading, built[plan.reading.key])
    analyses = [s for s in stages if s.name == "analyze"]
    if analyses:
        record["analysis"] = built[analyses[-1].key].results["analysis"]
    told = run_warnings(record, plan, built, context.store)
    if told:
        record["warnings"] = told
    return record


def _training(context: Context, plan: Plan, built: Stages) -> Training:
    """Curves by episode, and queries by task; a run that merges others' models has no curves of its own."""
    trained = [s for s in plan.stages if s.key in built and s.name in ("warmup", "train")]
    queries: dict[str, int] = {}
    for stage in trained:
        for task, count in _summary(built[stage.key])["queries"].items():
            queries[task] = queries.get(task, 0) + count
    episodes = [] if plan.run.parts else [_curves(context, stage, built) for stage in trained]
    return {"episodes": episodes, "queries": queries}


def _entry(stage: Stage, built: Built) -> StageEntry:
    return {
        "name": stage.name,
        "episode": stage.episode,
        "fingerprint": stage.key,
        "reused": built.reused,
        "seconds": round(built.seconds, 3),
    }


def _add_scores(record: RunRecord, plan: Plan, final: Built) -> None:
    suite, found = plan.run.suite, _scored(final)
    titles = {t.name: t.title for t in suite.tasks if t.name in found}
    record["tasks"] = {name: {"title": title, **found[name]} for name, title in titles.items()}
    mean = _average(plan, found)
    if mean is not None:
        record["average"] = mean
    selection: Selection = {"tasks": final.results["selection"]}
    # over what it is trained on: a run that leaves a task out must not be chosen by it
    selected = average(selection["tasks"], plan.run.trained, suite.metric)
    if selected is not None:
        selection["average"] = selected
    record["selection"] = selection
    record["per_query"] = {
        "stage": plan.final.name,
        "fingerprint": plan.final.key,
        "file": SCORES_FILE,
        "sha256": final.manifest.files[SCORES_FILE]["sha256"],
    }


def _average(plan: Plan, tasks: Mapping[str, TaskResult]) -> float | None:
    """Over all tasks, of a run that serves them all."""
    suite, names = plan.run.suite, [task.name for task in plan.run.suite.tasks]
    return average(tasks, names, suite.metric) if set(names) == set(plan.run.served) else None


def _scored(built: Built) -> dict[str, TaskResult]:
    """The tasks that an ``evaluate`` stage scored on dev."""
    found: dict[str, TaskResult] = built.results["tasks"]
    return found


def _history(plan: Plan, stage: Stage, built: Stages) -> HistoryEntry:
    suite, tasks = plan.run.suite, _scored(built[stage.key])
    assert stage.episode is not None
    return {
        "episode": stage.episode,
        "average": _average(plan, tasks),
        "tasks": {name: scores["metrics"].get(suite.metric) for name, scores in tasks.items()},
    }


def _cost(stages: list[Stage], built: Stages) -> Cost:
    """Seconds of a stage are those of its computation, also where it was reused: what the run costs by itself."""
    seconds: dict[str, float] = {}
    for stage in stages:
        seconds[stage.name] = round(seconds.get(stage.name, 0.0) + built[stage.key].seconds, 3)
    computed = [built[s.key].seconds for s in stages if not built[s.key].reused]
    cost: Cost = {
        "seconds": seconds,
        "total_seconds": round(sum(seconds.values()), 3),
        "computed_seconds": round(sum(computed), 3),
    }
    trained = [s for s in stages if s.name in ("warmup", "train")]
    if trained:
        # the last episode is where the method acts, whatever start_episode is
        summary = built[trained[-1].key].results["summary"]
        for name in ("step_ms", "phase_ms", "peak_memory_bytes", "optimizer_state_bytes", "num_parameters"):
            cost[name] = summary[name]
    return cost


def _curves(context: Context, stage: Stage, built: Stages) -> EpisodeCurves:
    summary = _summary(built[stage.key])
    journal: list[LoggedStep] = json.loads((built[stage.key].folder / "journal.json").read_text(encoding="utf-8"))
    every = max(1, -(-len(journal) // MAX_POINTS))
    kept = [e for i, e in enumerate(journal) if i % every == 0 or i == len(journal) - 1]
    tasks = list(summary["task_batch_sizes"])
    assert stage.episode is not None
    curves: EpisodeCurves = {
        "episode": stage.episode,
        "summary": summary,
        "optimizer": summary["optimizer"],
        "skipped_steps": summary["skipped_steps"],
        "clipped_share": summary["clipped_share"],
        "solver_fallbacks": summary["solver_fallbacks"],
        "update_digest": summary["update_digest"],
        "steps": [e["step"] for e in kept],
        "losses": _by_task(kept, "losses", tasks),
        "weights": _by_task(kept, "weights", tasks),
        "gradient_norms": _by_task(kept, "gradient_norms", tasks),
        "norm_before_clip": [e.get("norm_before_clip") for e in kept],
        "norm_after_clip": [e.get("norm_after_clip") for e in kept],
    }
    _add_conflicts(curves, [e for e in journal if "cosines" in e], tasks)
    return curves


def _summary(built: Built) -> TrainingSummary:
    summary = dict(built.results["summary"])
    summary["final_report"] = summary.pop("report")
    if "queries" not in summary:  # a stage of before November 2026
        summary["queries"] = {task: size * summary["steps"] for task, size in summary["task_batch_sizes"].items()}
    return cast("TrainingSummary", summary)


def _add_conflicts(curves: EpisodeCurves, measured: list[LoggedStep], tasks: list[str]) -> None:
    """How often the gradients of two tasks point apart, at the steps where that was measured."""
    if not measured:
        return
    tables, size = [e["cosines"] for e in measured], range(len(tasks))
    curves["conflict_steps"] = [e["step"] for e in measured]
    curves["conflict_rate"] = [e["conflict_rate"] for e in measured]
    mean = [[round(sum(t[i][j] for t in tables) / len(tables), 4) for j in size] for i in size]
    curves["cosines"] = {"tasks": tasks, "mean": mean}


def _by_task(entries: list[LoggedStep], key: CurveName, tasks: list[str]) -> ByTask:
    return {task: [e.get(key, {}).get(task) for e in entries] for task in tasks}
