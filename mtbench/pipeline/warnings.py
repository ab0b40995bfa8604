"""What whoever reads a run's figures should know: seen in its stages, said in its record."""

from __future__ import annotations

import dataclasses
import json

from mtbench.pipeline.plan import Plan, Stage, make_plan
from mtbench.records.record import RunRecord, RunWarning, TaskResult, average
from mtbench.storage.store import Built, Store
from mtbench.training.diagnostics import LoggedStep

FROZEN_STEPS = 100
"""Steps without any gradient after which a task counts as frozen."""
LEAST_SPREAD = 1e-6
"""1 - mean cosine of a corpus's vectors below which they are one vector but for rounding."""


def run_warnings(record: RunRecord, plan: Plan, built: dict[str, Built], store: Store) -> list[RunWarning]:
    """All that is to be said about a run, as far as it came."""
    found: list[RunWarning] = [{"code": code, "message": text, "task": None} for code, text in plan.run.warnings]
    for stage in (s for s in plan.stages if s.key in built):
        if stage.name in ("warmup", "train"):
            found += _frozen_tasks(stage, built[stage.key])
        elif stage.name == "encode":
            found += _equal_vectors(stage, built[stage.key])
    if plan.final.key in built:
        found += _below_untrained(record, plan, store)
    return found


def _frozen_tasks(stage: Stage, built: Built) -> list[RunWarning]:
    """A warning for each task whose gradient was exactly 0 wherever it was logged in :data:`FROZEN_STEPS` steps."""
    journal: list[LoggedStep] = json.loads((built.folder / "journal.json").read_text(encoding="utf-8"))
    found: list[RunWarning] = []
    for task in built.results["summary"]["task_batch_sizes"]:
        since: int | None = None
        longest = 0
        for entry in journal:
            norm = entry.get("gradient_norms", {}).get(task)
            if norm is None:
                continue
            since = None if norm != 0 else entry["step"] if since is None else since
            longest = max(longest, 0 if since is None else entry["step"] - since)
        if longest >= FROZEN_STEPS:
            message = f"{task} had no gradient for {longest} steps of {stage.label}: it learned nothing there"
            found.append({"code": "frozen-task", "message": message, "task": task})
    return found


def _equal_vectors(stage: Stage, built: Built) -> list[RunWarning]:
    """A warning for each corpus whose vectors are nearly equal: whatever is ranked by them is ranked by chance."""
    spreads: dict[str, float] = built.results.get("spread", {})
    return [
        {
            "code": "equal-vectors",
            "message": f"all vectors of corpus {corpus} are nearly equal after {stage.label}: rankings by them mean "
            "nothing; does encoder.pooling fit the encoder?",
            "task": None,
        }
        for corpus, spread in spreads.items()
        if spread < LEAST_SPREAD
    ]


def _below_untrained(record: RunRecord, plan: Plan, store: Store) -> list[RunWarning]:
    """A warning where training made the encoder worse than it was, if the store knows how good it was."""
    suite, run = plan.run.suite, plan.run
    if run.optimizer["name"] in ("untrained", "bm25"):
        return []
    untrained = make_plan(dataclasses.replace(run, optimizer={"name": "untrained", "params": {}})).final
    before = store.open(untrained.name, untrained.key) if store.has(untrained.name, untrained.key) else None
    if before is None:
        return []
    tasks: dict[str, TaskResult] = before.results["tasks"]
    was, now = (average(of, run.trained, suite.metric) for of in (tasks, record["tasks"]))
    if was is None or now is None or now >= was:
        return []
    message = (
        f"the trained encoder scores {100 * now:.2f} {suite.metric}, less than untrained ({100 * was:.2f}): training "
        f"made it worse; train.lr={run.config.train.lr:g} may be too high for it"
    )
    return [{"code": "below-untrained", "message": message, "task": None}]
