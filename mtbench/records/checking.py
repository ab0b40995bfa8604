"""Whether what a file holds is a record: older versions are upgraded, and the first thing that is wrong is named."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, get_args

from mtbench.errors import shown
from mtbench.records.record import SCHEMA, STATUSES, CostName

Raw = dict[str, Any]
"""A JSON object that has not been checked yet."""

_UPGRADES: dict[int, Callable[[Raw], Raw]] = {}
"""Version n -> function that turns a record of version n into one of version n + 1."""

_SPEC = (("suite", str), ("profile", str), ("seed", int), ("optimizer", dict))
_OBJECTS = ("tasks", "cost", "environment", "training", "tuning", "analysis", "per_query")
_LISTS = ("stages", "history", "warnings")


def upgrade(record: Raw) -> Raw:
    """``record`` in the current schema; older versions are brought up one version at a time."""
    while record["schema"] < SCHEMA and record["schema"] in _UPGRADES:
        record = _UPGRADES[record["schema"]](record)
    return record


def fill(record: Raw, *, summary: bool) -> Raw:
    """``record`` with the keys that every record has, empty where the file has none, and without those that are null.

    A summary is left without ``stages``, which it does not know.
    """
    empty: Raw = {"tasks": {}, "cost": {}, "error": None, "environment": {}}
    if not summary:
        empty |= {"stages": []}
    known = {key: value for key, value in record.items() if value is not None}
    return known | {key: value for key, value in empty.items() if key not in known}


def validate(record: Mapping[str, Any]) -> str | None:
    """The first thing that makes ``record`` unusable, in words, or None: a light check of the required keys."""
    if record.get("status") not in STATUSES:
        return f"status is {record.get('status')!r}, not one of {', '.join(STATUSES)}"
    if not isinstance(record.get("run_id"), str):
        return "run_id is missing"
    for key in _OBJECTS:
        if record.get(key) is not None and not isinstance(record[key], dict):
            return f"{key} is not an object"
    for key in _LISTS:
        if record.get(key) is not None and not isinstance(record[key], list):
            return f"{key} is not a list"
    problem = _wrong_spec(record.get("spec")) or _wrong_figure(record) or _wrong_task(record.get("tasks") or {})
    return problem or _wrong_downstream(record)


def _wrong_spec(spec: Any) -> str | None:
    if not isinstance(spec, dict):
        return "spec is missing"
    for key, kind in _SPEC:
        if not isinstance(spec.get(key), kind):
            return f"spec.{key} is missing"
    if not isinstance(spec["optimizer"].get("name"), str):
        return "spec.optimizer.name is missing"
    if not isinstance(spec.get("suite_version", 1), int):
        return "spec.suite_version is no whole number"
    problem = _wrong_protocol(spec.get("protocol"))
    if problem:
        return problem
    for key, value in (("config", spec.get("config")), ("optimizer.params", spec["optimizer"].get("params"))):
        if value is not None and not isinstance(value, dict):
            return f"spec.{key} is not an object"
    return None


def _wrong_protocol(protocol: Any) -> str | None:
    if protocol is None:
        return None
    if not isinstance(protocol, dict) or not isinstance(protocol.get("name"), str):
        return "spec.protocol is no object with a name"
    if not isinstance(protocol.get("task"), str | None) or not isinstance(protocol.get("tasks"), list):
        return "spec.protocol does not say which tasks it is about"
    if not isinstance(protocol.get("start"), str) or not isinstance(protocol.get("budget"), str):
        return "spec.protocol does not say where it starts and how long it trains"
    if not isinstance(protocol.get("examples"), int | None):
        return "spec.protocol.examples is no whole number"
    return None


def _wrong_figure(record: Mapping[str, Any]) -> str | None:
    average = record.get("average")
    if average is not None and not _is_number(average):
        return f"average is {shown(average)}, no number"
    for key in get_args(CostName):
        value = (record.get("cost") or {}).get(key)
        if value is not None and not _is_number(value):
            return f"cost.{key} is {shown(value)}, no number"
    return None


def _wrong_task(tasks: Mapping[str, Any]) -> str | None:
    for name, task in tasks.items():
        if not isinstance(task, dict) or not isinstance(task.get("metrics"), dict):
            return f"tasks.{name}.metrics is missing"
        wrong = next((m for m, v in task["metrics"].items() if v is not None and not _is_number(v)), None)
        if wrong is not None:
            return f"tasks.{name}.metrics.{wrong} is no number"
        answers = task.get("downstream", {})
        if not isinstance(answers, dict) or not all(_is_number(value) for value in answers.values()):
            return f"tasks.{name}.downstream has a value that is no number"
    return None


def _wrong_downstream(record: Mapping[str, Any]) -> str | None:
    told = record.get("downstream")
    if told is None:
        return None
    if not isinstance(told, dict) or not isinstance(told.get("metrics"), dict) or "per_query" not in told:
        return "downstream does not say which metric each task has and where its scores stand"
    without = [name for name in told["metrics"] if "downstream" not in (record.get("tasks") or {}).get(name, {})]
    return f"tasks.{without[0]}.downstream is missing" if without else None


def _is_number(value: object) -> bool:
    """A number that a float can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, float) or abs(value) < 1e308
