"""Records with a reader: kept off retrieval's own boards, and as records whose scores are those of the answers.

What comes of the latter looks like any run, so that intervals, tests and tiers of answers are those of retrieval.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from mtbench.evaluation.answers import KILT_PREFIX
from mtbench.records.files import Loaded
from mtbench.records.record import READERS, RunRecord, RunSpec, TaskResult

ANSWERS, KILT_ANSWERS = "answers", "kilt_answers"
"""Metrics of the records of :func:`as_answers`: each task's own figure, and the same where the pages were found too."""


def has_reader(item: Loaded) -> bool:
    """Whether a record is of a run with a reader."""
    return item.usable and "reader" in item.record["spec"]


def retrieval_alone(loaded: Sequence[Loaded]) -> list[Loaded]:
    """Without rows that only answer, and of records whose figures of retrieval are those of one stage one each: a
    reader behind a retriever makes no second run of it."""
    kept, seen = list[Loaded](), set[tuple[str, str]]()
    for item in sorted(loaded, key=has_reader):
        if not has_reader(item):
            seen.add(_stage_of(item))
        elif item.record["spec"]["optimizer"]["name"] in READERS or _stage_of(item) in seen:
            continue
        else:
            seen.add(_stage_of(item))
        kept.append(item)
    chosen = {id(item) for item in kept}
    return [item for item in loaded if id(item) in chosen]


def _stage_of(item: Loaded) -> tuple[str, str]:
    """What a record's figures of retrieval come from; of one that has none, the record itself."""
    record = item.record
    if not item.usable or record["status"] != "complete" or "per_query" not in record:
        return "", str(item.path)
    return record["spec"]["optimizer"]["name"], record["per_query"]["fingerprint"]


def as_answers(loaded: Sequence[Loaded]) -> list[Loaded]:
    """The records with a reader, their scores those of the answers, and the reader part of what is compared."""
    return [replace(item, record=_answers(item.record)) for item in loaded if has_reader(item)]


def as_retrieval(loaded: Sequence[Loaded]) -> list[Loaded]:
    """The same records with their own scores."""
    return [replace(item, record=_with_spec(item.record)) for item in loaded if has_reader(item)]


def _with_spec(record: RunRecord) -> RunRecord:
    spec = {key: value for key, value in record["spec"].items() if key != "reader"}
    found = copy.copy(record)
    config = {**record["spec"]["config"], "reader": record["spec"]["reader"]}
    found["spec"] = cast("RunSpec", {**spec, "config": config})
    return found


def _answers(record: RunRecord) -> RunRecord:
    found = _with_spec(record)
    told = record.get("downstream")
    found["metric"] = ANSWERS
    metrics = told["metrics"] if told else {}
    found["tasks"] = {name: _task(record["tasks"][name], metric) for name, metric in metrics.items()}
    for key in ("average", "per_query"):
        found.pop(key, None)  # type: ignore[misc]
    if told:
        found["per_query"] = told["per_query"]
        if "average" in told:
            found["average"] = told["average"]
    return found


def _task(result: TaskResult, metric: str) -> TaskResult:
    scores = result.get("downstream", {})
    values = {ANSWERS: scores.get(metric), KILT_ANSWERS: scores.get(f"{KILT_PREFIX}{metric}")}
    return {**result, "metrics": {name: value for name, value in values.items() if value is not None}}
