"""Which run a record is of: its id, its place below the results, and the record before anything is known."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime
from pathlib import Path

from mtbench.records.record import SCHEMA, Environment, RunRecord, RunSpec


def run_id(spec: RunSpec) -> str:
    """``OPTIMIZER-sSEED-HASH``: a pure function of ``spec``, equal on every machine.

    The hash is 12 hexadecimal digits of the sha256 of ``spec`` as canonical JSON (sorted keys, whole floats as
    integers, so that ``tau=2`` and ``tau=2.0`` are one run). Raises ValueError for NaN or infinity.
    """
    text = json.dumps(_canonical(spec), sort_keys=True, separators=(",", ":"), allow_nan=False)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return f"{_file_name(spec['optimizer']['name'])}-s{spec['seed']}-{digest}"


def record_path(results: Path, spec: RunSpec, identifier: str | None = None) -> Path:
    """Where the record of ``spec`` stands: ``RESULTS/runs/SUITE@VERSION/PROFILE/OPTIMIZER/RUN_ID.json``."""
    suite = f"{_file_name(spec['suite'])}@{spec.get('suite_version', 1)}"
    folder = Path(results) / "runs" / suite / _file_name(spec["profile"])
    return folder / _file_name(spec["optimizer"]["name"]) / f"{identifier or run_id(spec)}.json"


def new_record(spec: RunSpec, metric: str, environment: Environment) -> RunRecord:
    """The record of a run that begins now. ``metric``: the suite's own."""
    return {
        "schema": SCHEMA,
        "run_id": run_id(spec),
        "status": "running",
        "spec": spec,
        "metric": metric,
        "tasks": {},
        "stages": [],
        "cost": {},
        "environment": environment,
        "started": timestamp(),
        "error": None,
    }


def timestamp() -> str:
    """Now, in UTC to the second (ISO 8601)."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _canonical(value: object) -> object:
    if isinstance(value, dict):
        return {str(k): _canonical(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(v) for v in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _file_name(name: str) -> str:
    """``name`` without anything that could leave its folder."""
    return re.sub(r"[^\w.+@-]+", "-", name).strip(".-") or "unnamed"
