"""Run records: one JSON file per run, written whole or not at all, and read for what it is.

A record is a plain dictionary; metrics are fractions of 1. On disk every top-level key starts its own line, so that
a changed number is a changed line and a reader that needs only the summary can leave the long learning curves
unparsed.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtbench.errors import shown

SCHEMA = 1
"""The version this program writes. Files of older versions are upgraded when they are read."""

STATUSES = ("running", "complete", "failed", "interrupted")

Record = dict[str, Any]

_UPGRADES: dict[int, Callable[[Record], Record]] = {}
"""Version n -> function that turns a record of version n into one of version n + 1."""

_HEAVY = ("training", "analysis", "history", "selection", "stages", "negatives", "environment")
"""Keys that ``summary=True`` leaves out: nothing in a leaderboard comes from them."""

_HEAVY_STARTS = tuple(f'{key}":'.encode() for key in _HEAVY)


@dataclass(slots=True)
class Loaded:
    """One file below ``RESULTS/runs``. ``record`` is empty where nothing could be read.

    ``kind`` says what the file is: ``ok``, ``incomplete`` (a finished run without some task), ``unreadable``
    (half-written, not JSON), ``invalid`` (a required key is missing), ``newer`` (a schema of a later mtbench)
    or ``duplicate`` (a run id that another file has too). ``problem`` says it in words, None for ``ok``.
    """

    record: Record
    path: Path
    problem: str | None = None
    kind: str = "ok"

    @property
    def usable(self) -> bool:
        """Whether the record may enter tables (unfinished runs may: as rows without numbers)."""
        return self.kind in ("ok", "incomplete")


def run_id(spec: Record) -> str:
    """``OPTIMIZER-sSEED-HASH``: a pure function of ``spec``, equal on every machine.

    The hash is 12 hexadecimal digits of the sha256 of ``spec`` as canonical JSON (sorted keys, whole floats as
    integers, so that ``tau=2`` and ``tau=2.0`` are one run). Raises ValueError for NaN or infinity.
    """
    text = json.dumps(_canonical(spec), sort_keys=True, separators=(",", ":"), allow_nan=False)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return f"{_file_name(spec['optimizer']['name'])}-s{spec['seed']}-{digest}"


def record_path(results: Path, spec: Record, identifier: str | None = None) -> Path:
    """Where the record of ``spec`` stands: ``RESULTS/runs/SUITE@VERSION/PROFILE/OPTIMIZER/RUN_ID.json``."""
    suite = f"{_file_name(spec['suite'])}@{spec.get('suite_version', 1)}"
    folder = Path(results) / "runs" / suite / _file_name(spec["profile"])
    return folder / _file_name(spec["optimizer"]["name"]) / f"{identifier or run_id(spec)}.json"


def write_record(results: Path, record: Record) -> Path:
    """Write ``record`` atomically (temporary file, fsync, rename) and return its path.

    ``run_id`` and ``schema`` are filled in where they are missing; numbers that JSON cannot express (NaN,
    infinity) become null. Raises ValueError if a required key is missing.
    """
    record = {"schema": SCHEMA, "run_id": run_id(record["spec"]), **_plain(record)}
    problem = validate(record)
    if problem:
        raise ValueError(f"this record cannot be written: {problem}")
    path = record_path(results, record["spec"], record["run_id"])
    if "tuning" not in record and path.exists():
        # how many settings a sweep has tried stays true of a run that is computed again
        earlier = read_record(path).record
        record |= {"tuning": earlier["tuning"]} if isinstance(earlier, dict) and "tuning" in earlier else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, _layout(record))
    return path


def write_atomically(path: Path, text: str) -> None:
    """Replace ``path`` by ``text`` so that a reader, or a crash, sees the old file or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load_records(
    results: Path, *, suite: str | None = None, profile: str | None = None, summary: bool = False
) -> list[Loaded]:
    """Every record file below ``results``, in the order of their paths, each with what is wrong with it.

    ``suite`` is a name or ``NAME@VERSION``. ``summary=True`` leaves out learning curves, analyses and the
    like, which makes ten thousand records a matter of seconds. Nothing is raised for a bad file, or for none.
    """
    with no_garbage_collection():
        loaded = [read_record(path, summary=summary) for path in _record_files(Path(results), suite, profile)]
    _mark_duplicates(loaded, Path(results))
    return loaded


def read_record(path: Path, *, summary: bool = False) -> Loaded:
    """Read one file; see :class:`Loaded` for what may be wrong with it."""
    try:
        if not path.is_file():
            raise OSError("no file")
        record = _parse(path.read_bytes(), summary)
    except (OSError, ValueError, RecursionError) as error:
        return Loaded({}, path, f"cannot be read ({_brief(error)}): half-written or damaged", "unreadable")
    if not isinstance(record, dict) or not isinstance(record.get("schema"), int):
        return Loaded({}, path, "is JSON, but not a run record (no schema version)", "invalid")
    if record["schema"] > SCHEMA:
        message = f"has schema {record['schema']}, newer than this mtbench reads ({SCHEMA}): upgrade mtbench"
        return Loaded(record, path, message, "newer")
    record = upgrade(record)
    problem = validate(record)
    if problem:
        return Loaded(record, path, f"is not a whole record: {problem}", "invalid")
    if record["status"] == "complete" and record.get("average") is None:
        return Loaded(record, path, "finished, but has no average: a task has no result", "incomplete")
    return Loaded(record, path)


def upgrade(record: Record) -> Record:
    """``record`` in the current schema; older versions are brought up one version at a time."""
    while record["schema"] < SCHEMA and record["schema"] in _UPGRADES:
        record = _UPGRADES[record["schema"]](record)
    return record


def validate(record: Record) -> str | None:
    """The first thing that makes ``record`` unusable, in words, or None: a light check of the required keys."""
    if record.get("status") not in STATUSES:
        return f"status is {record.get('status')!r}, not one of {', '.join(STATUSES)}"
    if not isinstance(record.get("run_id"), str):
        return "run_id is missing"
    spec = record.get("spec")
    if not isinstance(spec, dict):
        return "spec is missing"
    for key, kind in (("suite", str), ("profile", str), ("seed", int), ("optimizer", dict)):
        if not isinstance(spec.get(key), kind):
            return f"spec.{key} is missing"
    if not isinstance(spec["optimizer"].get("name"), str):
        return "spec.optimizer.name is missing"
    if not isinstance(spec.get("suite_version", 1), int):
        return "spec.suite_version is no whole number"
    inner = (("spec.config", spec.get("config")), ("spec.optimizer.params", spec["optimizer"].get("params")))
    for key, value in [*inner, *((k, record.get(k)) for k in _OBJECTS)]:
        if value is not None and not isinstance(value, dict):
            return f"{key} is not an object"
    if not isinstance(record.get("stages") or [], list):
        return "stages is not a list"
    average = record.get("average")
    if average is not None and not _is_number(average):
        return f"average is {shown(average)}, no number"
    for key in ("step_ms", "total_seconds", "peak_memory_bytes", "optimizer_state_bytes"):
        value = (record.get("cost") or {}).get(key)
        if value is not None and not _is_number(value):
            return f"cost.{key} is {shown(value)}, no number"
    tasks = record.get("tasks", {})
    if not isinstance(tasks, dict):
        return "tasks is not an object"
    for name, task in tasks.items():
        if not isinstance(task, dict) or not isinstance(task.get("metrics"), dict):
            return f"tasks.{name}.metrics is missing"
        wrong = next((m for m, v in task["metrics"].items() if v is not None and not _is_number(v)), None)
        if wrong is not None:
            return f"tasks.{name}.metrics.{wrong} is no number"
    return None


_OBJECTS = ("cost", "environment", "training", "tuning", "analysis", "per_query")


def _is_number(value: Any) -> bool:
    """A number that a float can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, float) or abs(value) < 1e308


def optimizer_params(record: Record) -> Record:
    """``spec.optimizer.params``, empty where there are none."""
    return dict(record["spec"]["optimizer"].get("params") or {})


def _record_files(results: Path, suite: str | None, profile: str | None) -> Iterator[Path]:
    for suite_folder in _folders(results / "runs"):
        if suite not in (None, suite_folder.name, suite_folder.name.rpartition("@")[0]):
            continue
        for profile_folder in _folders(suite_folder):
            if profile not in (None, profile_folder.name):
                continue
            for folder in _folders(profile_folder):
                names = sorted(n for n in os.listdir(folder) if n.endswith(".json") and not n.startswith("."))
                yield from (folder / name for name in names)


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


@contextlib.contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Millions of new objects and no garbage: the collector would only walk them again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _mark_duplicates(loaded: list[Loaded], results: Path) -> None:
    """Of several files with one run id keep the one in its own place (else the first); mark the others."""
    by_id: dict[str, list[Loaded]] = {}
    for item in loaded:
        if item.usable:
            by_id.setdefault(item.record["run_id"], []).append(item)
    for identifier, items in by_id.items():
        if len(items) == 1:
            continue
        kept = min(items, key=lambda i: i.path != record_path(results, i.record["spec"], identifier))
        for item in items:
            if item is not kept:
                same = item.record.get("tasks") == kept.record.get("tasks")
                what = "the same" if same else "OTHER"
                item.kind = "duplicate"
                item.problem = f"repeats run id {identifier} of {kept.path} with {what} results: left out"


_DECODER = json.JSONDecoder(parse_constant=lambda _: None)
"""NaN and infinity, which JSON lacks and other programs write, are no numbers."""


def _parse(raw: bytes, summary: bool) -> Any:
    """The JSON value; of a file in our own layout ``summary`` neither decodes nor parses the heavy lines."""
    if summary and raw.startswith(b'{\n"') and raw.endswith(b"\n}\n"):
        light = [block for block in raw[3:-3].split(b',\n"') if not block.startswith(_HEAVY_STARTS)]
        raw = b'{"' + b',"'.join(light) + b"}"
    return _DECODER.decode(raw.decode())


def _layout(record: Record) -> str:
    """JSON with one top-level key per line; objects below are broken once more where that helps reading."""

    def block(key: str, value: Any) -> str:
        flat = json.dumps(value, ensure_ascii=False, allow_nan=False)
        if isinstance(value, dict) and value and len(flat) > 100:
            lines = (
                f"  {json.dumps(k)}: {json.dumps(v, ensure_ascii=False, allow_nan=False)}" for k, v in value.items()
            )
            flat = "{\n" + ",\n".join(lines) + "\n }"
        return f"{json.dumps(key)}: {flat}"

    return "{\n" + ",\n".join(block(key, value) for key, value in record.items()) + "\n}\n"


def _plain(value: Any) -> Any:
    """``value`` in JSON's own types: arrays become lists, paths strings, non-finite numbers null."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return str(value)


def _canonical(value: Any) -> Any:
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


def _brief(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
