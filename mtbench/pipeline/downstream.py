"""What a reader's answers add to a run's record: scores by task, and averages of each task's own metric."""

from __future__ import annotations

from mtbench.evaluation.answers import KILT_PREFIX
from mtbench.evaluation.scores import SCORES_FILE
from mtbench.pipeline.plan import Plan, Stage
from mtbench.records.record import Downstream, RunRecord
from mtbench.storage.store import Built

OWN_METRIC = {
    "fact_checking": "accuracy",
    "entity_linking": "accuracy",
    "slot_filling": "accuracy",
    "qa": "em",
    "dialogue": "f1",
    "ad_hoc": "rougel",
}
"""Family -> the figure that KILT ranks its tasks by (Petroni et al., NAACL 2021, section 5; of dialogue F1, as
Maillard et al. print it)."""


def add_downstream(record: RunRecord, plan: Plan, stage: Stage, built: Built) -> None:
    """Put the answers' scores beside those of retrieval; the averages are over the tasks that have answers and that the
    run serves all of."""
    suite, found = plan.run.suite, built.results["downstream"]
    metrics = {task.name: OWN_METRIC[task.family] for task in suite.tasks if task.name in found}
    for name in metrics:
        record["tasks"][name]["downstream"] = found[name]
    downstream: Downstream = {
        "metrics": metrics,
        "per_query": {
            "stage": stage.name,
            "fingerprint": stage.key,
            "file": SCORES_FILE,
            "sha256": built.manifest.files[SCORES_FILE]["sha256"],
        },
        "reader": built.results["readers"],
    }
    if "tasks" not in stage.settings:
        values = {name: found[name].get(metric) for name, metric in metrics.items()}
        kilt = {name: found[name].get(f"{KILT_PREFIX}{metric}") for name, metric in metrics.items()}
        for key, by_task in (("average", values), ("kilt_average", kilt)):
            known = [value for value in by_task.values() if value is not None]
            if known and len(known) == len(by_task):
                downstream[key] = sum(known) / len(known)  # type: ignore[literal-required]
    record["downstream"] = downstream
