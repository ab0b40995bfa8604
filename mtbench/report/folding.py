"""Runs of a protocol as rows: those of one seed become one record, with each task from the run that serves it.

What comes of it looks like a run on all tasks, so that intervals, tests and tiers are the same as for any other row. A
folded record exists in memory alone.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from mtbench.records.files import Loaded, read_record
from mtbench.records.record import Cost, ProtocolSpec, RunRecord, RunSpec, StageEntry, served_tasks

MULTITASK, ALL = "multitask", "all"
ON_MAIN = ("per-task", "fused")
"""Protocols whose rows stand on the main board too."""
_PART = ("tasks", "examples", "start", "budget", "fusion")
"""Settings of training that the row's name tells."""


def fold(loaded: Sequence[Loaded]) -> list[Loaded]:
    """``loaded`` with the usable runs of protocols folded by row and seed, after the others."""
    plain, groups = list[Loaded](), dict[str, list[Loaded]]()
    for item in loaded:
        if not item.usable or "protocol" not in item.record["spec"]:
            plain.append(item)
        elif served_tasks(item.record["spec"]) is None:  # one run that serves all
            record = copy.copy(item.record)
            record["spec"] = row_spec(record["spec"])
            plain.append(replace(item, record=record))
        else:
            groups.setdefault(json.dumps(row_spec(item.record["spec"]), sort_keys=True), []).append(item)
    return plain + [replace(items[0], record=_folded(items), kind="ok", problem=None) for items in groups.values()]


def row_spec(spec: RunSpec) -> RunSpec:
    """The part of a run's specification that its whole row shares: without the task that it serves or leaves out."""
    shared: dict[str, Any] = {**spec, "config": {**spec["config"]}}
    if "train" in spec["config"]:
        train = spec["config"]["train"]
        shared["config"]["train"] = {k: v for k, v in train.items() if k not in _PART}
    protocol = spec["protocol"]
    if protocol["task"] is not None:
        shared["protocol"] = {**protocol, "task": None, "tasks": []}
    return cast("RunSpec", shared)


def protocol_of(record: RunRecord) -> ProtocolSpec | None:
    """What a record, folded or not, is about; None: all tasks."""
    return record["spec"].get("protocol")


def wanted(protocol: str, asked: str) -> bool:
    """Whether rows of ``protocol`` stand on the board of ``asked`` (``multitask`` is the main one)."""
    if asked in (protocol, ALL):
        return True
    return asked == MULTITASK and protocol in ON_MAIN


def _folded(items: Sequence[Loaded]) -> RunRecord:
    """One record of several of one seed. A task without a finished run is absent from it; notes say why."""
    chosen = _latest(items)
    first = items[0].record
    finished = [r for r in chosen.values() if r["status"] == "complete"]
    record = copy.copy(finished[0] if finished else first)
    record["spec"] = row_spec(first["spec"])
    order = list(record["tasks"]) or sorted(chosen)
    record["tasks"] = {
        task: chosen[task]["tasks"][task]
        for task in sorted(chosen, key=lambda t: order.index(t) if t in order else len(order))
        if chosen[task]["status"] == "complete" and task in chosen[task]["tasks"]
    }
    record["folded"] = chosen
    paths = {item.record["run_id"]: item.path for item in items}
    stages = [r.get("stages") or read_record(paths[r["run_id"]]).record["stages"] for r in finished]
    record["cost"] = _cost(finished, stages)  # a summary has no stages
    warnings = [w for r in chosen.values() for w in r.get("warnings", [])]
    warnings += [_unfinished(task, r) for task, r in chosen.items() if r["status"] != "complete"]
    if warnings:
        record["warnings"] = warnings
    tried = [int(r["tuning"]["trials"] or 0) for r in chosen.values() if "tuning" in r]
    if tried:
        record["tuning"] = {"trials": max(tried)}
    record["finished"] = max((str(r.get("finished") or "") for r in chosen.values()), default="")
    for name in ("average", "per_query", "training", "history", "selection", "negatives", "analysis"):
        cast("dict[str, Any]", record).pop(name, None)
    return record


def _latest(items: Iterable[Loaded]) -> dict[str, RunRecord]:
    """Task -> the run that serves it: a complete one before others, then the later."""
    chosen: dict[str, RunRecord] = {}
    for item in items:
        for task in served_tasks(item.record["spec"]) or ():
            other = chosen.get(task)
            if other is None or _age(item.record) > _age(other):
                chosen[task] = item.record
    return chosen


def _age(record: RunRecord) -> tuple[bool, str]:
    return record["status"] == "complete", str(record.get("finished") or "")


def _unfinished(task: str, record: RunRecord) -> Any:
    error = record.get("error")
    why = f": {error['message'].splitlines()[0]}" if error and error.get("message") else ""
    return {"code": "unfinished", "message": f"the run for {task} is {record['status']}{why}", "task": task}


def _cost(records: Sequence[RunRecord], stages: Sequence[Sequence[StageEntry]]) -> Cost:
    """Seconds add up, those of a stage that several runs share once; and so do the steps of all runs, side by side one
    step on all tasks. Memory is the largest."""
    found: Cost = {}
    seconds: dict[str, float] = {}
    for record in records:
        for stage, spent in record["cost"].get("seconds", {}).items():
            seconds[stage] = seconds.get(stage, 0.0) + spent
    again = _shared_seconds(stages)
    if seconds:
        found["seconds"] = {stage: round(spent - again.get(stage, 0.0), 3) for stage, spent in seconds.items()}
    for name in ("total_seconds", "computed_seconds", "step_ms"):
        values = _known(records, name)
        if values and len(values) == len(records):
            spared = sum(again.values()) if name == "total_seconds" else 0.0
            found[name] = round(sum(values) - spared, 3)
    for name in ("peak_memory_bytes", "optimizer_state_bytes", "num_parameters"):
        values = _known(records, name)
        if values:
            found[name] = int(max(values))  # type: ignore[literal-required]
    return found


def _shared_seconds(runs: Sequence[Sequence[StageEntry]]) -> dict[str, float]:
    """Stage -> the seconds that stand in a run's record although another run before it has the very same stage."""
    seen: set[str] = set()
    again: dict[str, float] = {}
    for stage in (stage for stages in runs for stage in stages):
        if stage["fingerprint"] in seen:
            again[stage["name"]] = again.get(stage["name"], 0.0) + stage["seconds"]
        seen.add(stage["fingerprint"])
    return again


def _known(records: Sequence[RunRecord], name: str) -> list[float]:
    costs = [cast("Mapping[str, Any]", record["cost"]).get(name) for record in records]
    return [float(value) for value in costs if isinstance(value, int | float)]
