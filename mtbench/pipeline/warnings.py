"""What whoever reads a run's figures should know: seen in its stages, said in its record."""

from __future__ import annotations

import dataclasses
import json

from mtbench.pipeline.freeing import angles
from mtbench.pipeline.plan import Plan, Stage, make_plan
from mtbench.records.record import BASELINES, RunRecord, RunWarning, TaskResult, average
from mtbench.registry import get_optimizer
from mtbench.storage.store import Built, Store
from mtbench.training.diagnostics import LoggedStep

FROZEN_STEPS = 100
"""Steps without any gradient after which a task counts as frozen."""
NAIVE_BELOW = 0.05
"""Mean relative difference of Adam's steps from naive's under which a method counts as naive in all but name."""
LEAST_ANGLE = 1.0
"""Degrees between two vectors of a corpus under which they are nearly equal: rounding to bfloat16 alone turns a vector
by a tenth of that. Encoders that rank anything lie far above (the narrowest cones that are reported of pre-trained
decoders have 8), transformers of random weights pooled at their first token below."""


def run_warnings(record: RunRecord, plan: Plan, built: dict[str, Built], store: Store) -> list[RunWarning]:
    """All that is to be said about a run, as far as it came."""
    found: list[RunWarning] = [{"code": code, "message": text, "task": None} for code, text in plan.run.warnings]
    for stage in (s for s in plan.stages if s.key in built):
        if stage.name in ("warmup", "train"):
            found += _frozen_tasks(stage, built[stage.key])
    found += _equal_vectors([s for s in plan.stages if s.key in built and s.name == "encode"], built, store)
    found += _acts_as_naive(plan, built)
    found += _computed_otherwise(record, plan, built)
    if plan.final.key in built:
        found += _below_untrained(record, plan, store)
    return found


def _frozen_tasks(stage: Stage, built: Built) -> list[RunWarning]:
    """A warning for each task whose gradient was exactly 0 wherever it was logged in :data:`FROZEN_STEPS` steps."""
    journal = _journal(built)
    found: list[RunWarning] = []
    method = stage.settings.get("optimizer", {}).get("name")
    union = stage.settings.get("train", {}).get("mixing") == "union"
    harm = get_optimizer(method).frozen_task if method else ""
    for task in built.results["summary"]["task_batch_sizes"]:
        since: int | None = None
        longest = 0
        for entry in journal:
            norm = entry.get("gradient_norms", {}).get(task)
            if norm is None or (union and norm == 0 and entry["losses"][task] == 0):
                continue  # it had no query in that step
            since = None if norm != 0 else entry["step"] if since is None else since
            longest = max(longest, 0 if since is None else entry["step"] - since)
        if longest >= FROZEN_STEPS:
            message = f"{task} had no gradient for {longest} steps of {stage.label}: it learned nothing there"
            message += f"; {harm}" if harm else ""
            found.append({"code": "frozen-task", "message": message, "task": task})
    return found


def _computed_otherwise(record: RunRecord, plan: Plan, built: dict[str, Built]) -> list[RunWarning]:
    """A warning for stages in the store whose method may have computed otherwise, before it was changed."""
    chosen, found = plan.run.combining, list[str]()
    if chosen["name"] in BASELINES:
        return []
    method = get_optimizer(chosen["name"])(**chosen["params"])
    for stage in _acting(plan, built):
        if any(method.was_otherwise(entry.get("report", {})) for entry in _journal(built[stage.key])):
            found.append(stage.label)
    if not found:
        return []
    message = (
        f"{' and '.join(found)} stood in the store from an earlier version, in which {method.name} may have computed "
        f"another update; to compute it again: mtbench clean {record['run_id']}, and run with --rerun all"
    )
    return [{"code": "computed-otherwise", "message": message, "task": None}]


def _acting(plan: Plan, built: dict[str, Built]) -> list[Stage]:
    """The stages, of those that are there, in which the run's method acts."""
    stages = [s for s in plan.stages if s.name in ("warmup", "train") and s.key in built]
    return [s for s in stages if s.settings["optimizer"] == plan.run.combining]


def _journal(built: Built) -> list[LoggedStep]:
    entries: list[LoggedStep] = json.loads((built.folder / "journal.json").read_text(encoding="utf-8"))
    return entries


def _acts_as_naive(plan: Plan, built: dict[str, Built]) -> list[RunWarning]:
    """A warning where a method's steps are naive's, but for :data:`NAIVE_BELOW`, in every stage in which it acts."""
    method = plan.run.combining
    if method["name"] in (*BASELINES, "naive"):
        return []
    summaries = [built[s.key].results["summary"] for s in _acting(plan, built)]
    found = [d for s in summaries if (d := s.get("step_difference")) is not None]
    if not found or max(found) >= NAIVE_BELOW:
        return []
    message = (
        f"{method['name']} is naive here in all but name: its steps differ from those that naive would have made at "
        f"the same states by less than {100 * NAIVE_BELOW:g} %"
    )
    return [{"code": "acts-as-naive", "message": message, "task": None}]


def _equal_vectors(stages: list[Stage], built: dict[str, Built], store: Store) -> list[RunWarning]:
    """A warning of the corpora whose vectors are nearly equal: whatever is ranked by them is ranked by chance."""
    near: dict[str, list[tuple[str, float]]] = {}
    for stage in stages:
        for corpus, angle in angles(store.freed(stage.name, stage.key) or built[stage.key]).items():
            if angle < LEAST_ANGLE:
                near.setdefault(corpus, []).append((stage.label, angle))
    if not near:
        return []
    seen = [pair for found in near.values() for pair in found]
    corpora = f"corpus {next(iter(near))}" if len(near) == 1 else f"corpora {', '.join(near)}"
    stages_seen = ", ".join(dict.fromkeys(label for label, _ in seen))
    message = (
        f"all vectors of {corpora} are nearly equal after {stages_seen} (two of a corpus are "
        f"{min(angle for _, angle in seen):.2g} degrees apart): rankings by them mean little; does encoder.pooling fit?"
    )
    return [{"code": "equal-vectors", "message": message, "task": None}]


def _below_untrained(record: RunRecord, plan: Plan, store: Store) -> list[RunWarning]:
    """A warning where training made the encoder worse than it was, on average or in a task, if the store knows how good
    it was."""
    suite, run = plan.run.suite, plan.run
    if run.optimizer["name"] in ("untrained", "bm25"):
        return []
    untrained = make_plan(dataclasses.replace(run, optimizer={"name": "untrained", "params": {}})).final
    before = store.glance(untrained.name, untrained.key)
    if before is None:
        return []
    tasks: dict[str, TaskResult] = before.results["tasks"]
    names, metric = list(run.trained), suite.metric
    was, now = average(tasks, names, metric), average(record["tasks"], names, metric)
    worse = fallen(tasks, record["tasks"], names, metric)
    by_task = ", ".join(f"{name} {100 * now:.2f} (untrained {100 * was:.2f})" for name, (was, now) in worse.items())
    by_task = f"training made {len(worse)} of {len(names)} tasks worse in {metric}: {by_task}"
    if was is not None and now is not None and now < was:
        message = (
            f"the trained encoder scores {100 * now:.2f} {metric}, less than untrained ({100 * was:.2f}): training "
            f"made it worse; train.lr={run.config.train.lr:g} may be too high for it"
        )
        told = f"{message}. {by_task[0].upper()}{by_task[1:]}" if worse and len(names) > 1 else message
        return [{"code": "below-untrained", "message": told, "task": None}]
    alone = next(iter(worse)) if len(worse) == 1 else None
    return [{"code": "below-untrained", "message": by_task, "task": alone}] if worse else []


def fallen(
    before: dict[str, TaskResult], after: dict[str, TaskResult], names: list[str], metric: str
) -> dict[str, tuple[float, float]]:
    """Tasks whose figure fell by what two decimals of a percentage show: the figure before and after."""
    found = dict[str, tuple[float, float]]()
    for name in names:
        pair = [tasks[name]["metrics"].get(metric) if name in tasks else None for tasks in (before, after)]
        if pair[0] is not None and pair[1] is not None and round(100 * pair[1], 2) < round(100 * pair[0], 2):
            found[name] = (pair[0], pair[1])
    return found
