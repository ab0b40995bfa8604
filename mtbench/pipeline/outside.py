"""Outside systems: a run file or prediction file per task becomes a record with per-query scores.

They are scored by the code that scores mtbench's own runs, against the same judgements, so that the same tests
apply. A query without results scores 0 and counts; an id that the suite does not have is an error, because it means
that the file belongs to other data.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mtbench.data.rules import Rules, rules_of_stage
from mtbench.errors import DataError, UsageError
from mtbench.evaluation.scores import SCORES_FILE, TaskScores, read_scores, task_result, write_scores
from mtbench.pipeline.outside_scores import score_file
from mtbench.records.environment import scoring_environment
from mtbench.records.files import as_stored, read_record, write_record
from mtbench.records.identity import new_record, record_path, timestamp
from mtbench.records.record import (
    BASELINES,
    OutsideFile,
    PerQuery,
    RunRecord,
    RunSpec,
    StageEntry,
    TaskResult,
    average,
)
from mtbench.storage.disk import file_digest
from mtbench.storage.store import Store, fingerprint
from mtbench.suite import Suite

STAGE = "external"


def check_name(name: str, taken: Iterable[str]) -> None:
    """Raises :class:`UsageError` if an outside system cannot be called ``name``."""
    if not re.fullmatch(r"[\w][\w.+-]*", name):
        raise UsageError(f"--as {name!r}: use letters, digits and . _ + - only, for instance corpusbrain")
    if name in {*taken, *BASELINES}:
        raise UsageError(f"--as {name!r}: an optimizer or baseline of mtbench has this name; choose another")


def task_files(suite: Suite, source: Path, task: str | None) -> dict[str, Path]:
    """Which file belongs to which task: one file and a task, or a folder of ``TASK.trec`` and ``TASK.jsonl``.

    A task with both is read from its TREC run, which gives the passage metrics too.
    """
    names = [t.name for t in suite.tasks]
    if task is not None and task not in names:
        raise UsageError(f"suite {suite.label} has no task {task!r}; its tasks: {', '.join(names)}")
    if not source.is_dir():
        if not source.is_file():
            raise DataError("no such file or folder", path=source)
        if task is None and len(names) > 1:
            raise UsageError(f"{source} is one file: name its task with --task ({', '.join(names)})")
        return {task or names[0]: source}
    found: dict[str, Path] = {}
    for file in sorted(f for f in source.iterdir() if f.suffix in (".jsonl", ".trec") and not f.name.startswith(".")):
        if file.stem not in names:
            raise DataError(
                f"suite {suite.label} has no task {file.stem!r}",
                path=file,
                remedy=f"Its tasks: {', '.join(names)}.",
            )
        found[file.stem] = file  # sorted: .trec comes after .jsonl and stays
    if task is not None:
        found = {name: file for name, file in found.items() if name == task}
    if not found:
        raise DataError("no TASK.trec or TASK.jsonl in this folder", path=source, remedy=f"Tasks: {', '.join(names)}.")
    return found


@dataclass(frozen=True)
class OutsideSystem:
    """What names the record of a system that mtbench did not train.

    ``suite_key``: the fingerprint of its data; ``rules``: those that its data call for (``mtbench.data.rules``).
    """

    name: str
    suite: Suite
    suite_key: str
    profile: str
    seed: int = 0
    rules: Rules = field(default_factory=dict)

    @property
    def specification(self) -> RunSpec:
        """The files are not part of it: entering better ones replaces the row."""
        found: RunSpec = {
            "optimizer": {"name": self.name, "params": {}},
            "suite": self.suite.name,
            "suite_version": self.suite.version,
            "suite_fingerprint": self.suite_key,
            "profile": self.profile,
            "seed": self.seed,
            "config": {},
            "limit": None,
            "external": True,
        }
        rules = rules_of_stage(self.rules, STAGE)
        return {**found, "rules": rules} if rules else found


def enter_system(
    system: OutsideSystem, files: Mapping[str, Path], *, results: Path, store: Store
) -> tuple[RunRecord, Path]:
    """Score ``files`` (task -> file) and write the record of an outside system; the record and its path.

    Tasks that were entered before under the same name, suite, profile and seed stay in the record. The average
    stands only when every task of the suite has the suite's metric.
    """
    suite, spec = system.suite, system.specification
    record = new_record(spec, suite.metric, scoring_environment())
    scores, inputs = _entered_before(record_path(results, spec), store)
    for task, file in files.items():
        scores[task], unanswered = score_file(suite, suite.task(task), file)
        inputs[task] = {"file": file.name, "sha256": file_digest(file), "unanswered": unanswered}
    per_query, stage = _store_scores(store, spec, inputs, scores)
    record["tasks"] = _results(suite, scores)
    mean = average(record["tasks"], [t.name for t in suite.tasks], suite.metric)
    if mean is not None:
        record["average"] = mean
    record["external"], record["inputs"], record["per_query"] = True, inputs, per_query
    record["stages"] = [stage]
    record["cost"] = {"seconds": {STAGE: stage["seconds"]}, "total_seconds": stage["seconds"]}
    record["tuning"] = {"trials": 0}
    record["status"], record["finished"] = "complete", timestamp()
    record = as_stored(results, record)
    return record, write_record(results, record)


def _results(suite: Suite, scores: Mapping[str, TaskScores]) -> dict[str, TaskResult]:
    """The tasks that were entered, in the suite's order."""
    return {
        task.name: {"title": task.title, **task_result(scores[task.name])}
        for task in suite.tasks
        if task.name in scores
    }


def _entered_before(path: Path, store: Store) -> tuple[dict[str, TaskScores], dict[str, OutsideFile]]:
    """Scores and inputs of the tasks that an earlier record of the same system has."""
    if not path.is_file():
        return {}, {}
    record = read_record(path).record
    if "per_query" not in record or "inputs" not in record:
        raise DataError("this is no record of an outside system", path=path, remedy="Remove the file, or mend it.")
    built = store.open(STAGE, record["per_query"]["fingerprint"])
    if built is None:
        raise DataError(
            "this system was entered before, but its per-query scores are no longer in the store",
            path=path,
            remedy="Remove this file and enter all tasks again.",
        )
    return read_scores(built.folder / SCORES_FILE), dict(record["inputs"])


def _store_scores(
    store: Store, spec: RunSpec, inputs: Mapping[str, OutsideFile], scores: Mapping[str, TaskScores]
) -> tuple[PerQuery, StageEntry]:
    content = {"spec": spec, "inputs": inputs}
    key = fingerprint(content)

    def compute(folder: Path) -> None:
        write_scores(folder / SCORES_FILE, scores)

    built = store.build(STAGE, key, content, compute)
    sha256 = built.manifest.files[SCORES_FILE]["sha256"]
    per_query: PerQuery = {"stage": STAGE, "fingerprint": key, "file": SCORES_FILE, "sha256": sha256}
    return per_query, {"name": STAGE, "fingerprint": key, "reused": built.reused, "seconds": built.seconds}
