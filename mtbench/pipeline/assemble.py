"""From finished stages to the record of a run."""

from __future__ import annotations

import json
from typing import Any

from mtbench.pipeline.context import Context
from mtbench.pipeline.plan import Plan, Stage
from mtbench.records.environment import environment
from mtbench.storage.store import Built

SCHEMA = 1
MAX_POINTS = 40
"""Points of a learning curve that a record keeps; the whole journal stays in the store."""


def skeleton(plan: Plan, run_id: str, status: str, started: str) -> dict[str, Any]:
    """A record before anything is known."""
    return {
        "schema": SCHEMA,
        "run_id": run_id,
        "status": status,
        "spec": plan.run.specification,
        "metric": plan.run.suite.metric,
        "tasks": {},
        "stages": [],
        "cost": {},
        "environment": environment(),
        "started": started,
        "error": None,
    }


def complete(record: dict[str, Any], plan: Plan, context: Context, built: dict[str, Built]) -> dict[str, Any]:
    """Fill a record from the stages that were computed or reused."""
    stages = [s for s in plan.stages if s.key in built]
    record["stages"] = [
        {
            "name": s.name,
            "episode": s.episode,
            "fingerprint": s.key,
            "reused": built[s.key].reused,
            "seconds": round(built[s.key].seconds, 3),
        }
        for s in stages
    ]
    record["cost"] = _cost(stages, built)
    record["training"] = {"episodes": [_curves(context, s, built) for s in stages if s.name in ("warmup", "train")]}
    record["negatives"] = {
        s.label: built[s.key].results["negatives"] for s in stages if "negatives" in built[s.key].results
    }
    record["history"] = [_history(plan, s, built) for s in plan.evaluations if s.key in built]
    if plan.final.key in built:
        _add_scores(record, plan, built[plan.final.key])
    analyses = [s for s in stages if s.name == "analyze"]
    if analyses:
        record["analysis"] = built[analyses[-1].key].results["analysis"]
    return record


def _add_scores(record: dict[str, Any], plan: Plan, final: Built) -> None:
    suite, results = plan.run.suite, final.results
    titles = {t.name: t.title for t in suite.tasks}
    found = results["tasks"]
    record["tasks"] = {name: {"title": title, **found[name]} for name, title in titles.items() if name in found}
    average = _average(results["tasks"], [t.name for t in suite.tasks], suite.metric)
    if average is not None:
        record["average"] = average
    selection = results["selection"]
    record["selection"] = {"tasks": selection}
    selected = _average(selection, [t.name for t in suite.tasks], suite.metric)
    if selected is not None:
        record["selection"]["average"] = selected
    record["per_query"] = {
        "stage": plan.final.name,
        "fingerprint": plan.final.key,
        "file": "scores.parquet",
        "sha256": final.manifest.files["scores.parquet"]["sha256"],
    }


def _average(tasks: dict[str, Any], names: list[str], metric: str) -> float | None:
    """The mean over all tasks of the suite; None unless every one of them has the metric."""
    values = [tasks.get(name, {}).get("metrics", {}).get(metric) for name in names]
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if len(known) == len(names) else None


def _history(plan: Plan, stage: Stage, built: dict[str, Built]) -> dict[str, Any]:
    metric = plan.run.suite.metric
    tasks = built[stage.key].results["tasks"]
    average = _average(tasks, [t.name for t in plan.run.suite.tasks], metric)
    by_task = {name: scores["metrics"].get(metric) for name, scores in tasks.items()}
    return {"episode": stage.episode, "average": average, "tasks": by_task}


def _cost(stages: list[Stage], built: dict[str, Built]) -> dict[str, Any]:
    """Seconds of a stage are those of its computation, also where it was reused: what the run costs by itself."""
    seconds: dict[str, float] = {}
    for stage in stages:
        seconds[stage.name] = round(seconds.get(stage.name, 0.0) + built[stage.key].seconds, 3)
    cost: dict[str, Any] = {"seconds": seconds, "total_seconds": round(sum(seconds.values()), 3)}
    computed = [s for s in stages if not built[s.key].reused]
    cost["computed_seconds"] = round(sum(built[s.key].seconds for s in computed), 3)
    trained = [s for s in stages if s.name in ("warmup", "train")]
    if trained:
        # the last episode is where the method acts, whatever start_episode is
        summary = built[trained[-1].key].results["summary"]
        for name in ("step_ms", "phase_ms", "peak_memory_bytes", "optimizer_state_bytes", "num_parameters"):
            cost[name] = summary[name]
    return cost


def _curves(context: Context, stage: Stage, built: dict[str, Built]) -> dict[str, Any]:
    summary = dict(built[stage.key].results["summary"])
    journal = json.loads((built[stage.key].folder / "journal.json").read_text(encoding="utf-8"))
    every = max(1, -(-len(journal) // MAX_POINTS))
    kept = [e for i, e in enumerate(journal) if i % every == 0 or i == len(journal) - 1]
    tasks = list(summary["task_batch_sizes"])
    curves = {
        "steps": [e["step"] for e in kept],
        **{key: _by_task(kept, key, tasks) for key in ("losses", "weights", "gradient_norms")},
        "norm_before_clip": [e.get("norm_before_clip") for e in kept],
        "norm_after_clip": [e.get("norm_after_clip") for e in kept],
    }
    conflicts = [(e["step"], e["conflict_rate"], e["cosines"]) for e in journal if "cosines" in e]
    if conflicts:
        tables = [table for *_, table in conflicts]
        size = range(len(tasks))
        mean = [[round(sum(t[i][j] for t in tables) / len(tables), 4) for j in size] for i in size]
        curves["conflict_steps"] = [step for step, *_ in conflicts]
        curves["conflict_rate"] = [rate for _, rate, _ in conflicts]
        curves["cosines"] = {"tasks": tasks, "mean": mean}
    summary["final_report"] = summary.pop("report")
    return {"episode": stage.episode, "summary": summary, **_flat(summary), **curves}


def _flat(summary: dict[str, Any]) -> dict[str, Any]:
    return {k: summary[k] for k in ("optimizer", "skipped_steps", "clipped_share", "solver_fallbacks", "update_digest")}


def _by_task(entries: list[dict[str, Any]], key: str, tasks: list[str]) -> dict[str, list[float | None]]:
    return {task: [e.get(key, {}).get(task) for e in entries] for task in tasks}
