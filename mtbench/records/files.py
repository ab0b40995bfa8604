"""Run records on disk: one JSON file per run, written whole or not at all, and read for what it is."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from mtbench.records.checking import Raw, fill, upgrade, validate
from mtbench.records.identity import record_path, run_id
from mtbench.records.record import SCHEMA, RunRecord, average, served_tasks
from mtbench.records.text import HEAVY, layout, parse, plain
from mtbench.storage.atomic import write_text

Kind = Literal["ok", "incomplete", "unreadable", "invalid", "newer", "duplicate"]


@dataclass(slots=True)
class Loaded:
    """One file below ``RESULTS/runs``. ``record`` is empty where nothing could be read.

    ``kind`` says what the file is: ``ok``, ``incomplete`` (a finished run without some task), ``unreadable``
    (half-written, not JSON), ``invalid`` (a required key is missing), ``newer`` (a schema of a later mtbench)
    or ``duplicate`` (a run id that another file has too). ``problem`` says it in words, None for ``ok``.
    """

    record: RunRecord
    path: Path
    problem: str | None = None
    kind: Kind = "ok"

    @property
    def usable(self) -> bool:
        """Whether the record may enter tables (unfinished runs may: as rows without numbers)."""
        return self.kind in ("ok", "incomplete")


def as_stored(results: Path, record: RunRecord) -> RunRecord:
    """``record`` as its file below ``results`` will have it: in JSON's own types (NaN and infinity become null).

    ``schema`` and ``run_id`` are filled in where they are missing, and how many settings a sweep has tried is kept: it
    stays true of a run that is computed again. Raises ValueError if a required key is missing.
    """
    stored: Raw = {"schema": SCHEMA, "run_id": run_id(record["spec"]), **plain(record)}
    problem = validate(stored)
    if problem:
        raise ValueError(f"this record cannot be written: {problem}")
    path = record_path(results, record["spec"], stored["run_id"])
    if "tuning" not in stored and path.exists():
        earlier = read_record(path).record
        stored |= {"tuning": earlier["tuning"]} if "tuning" in earlier else {}
    return cast("RunRecord", stored)


def write_record(results: Path, record: RunRecord) -> Path:
    """Write ``record`` (see :func:`as_stored`) atomically (temporary file, fsync, rename) and return its path."""
    stored = as_stored(results, record)
    path = record_path(results, stored["spec"], stored["run_id"])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, layout(stored))
    return path


def write_record_below(results: Path, record: RunRecord) -> Path:
    """:func:`write_record`, but FileNotFoundError where ``results`` itself is gone: who took it away wants no more."""
    folder = results
    for name in record_path(results, record["spec"], record["run_id"]).parent.relative_to(results).parts:
        folder /= name
        folder.mkdir(exist_ok=True)
    return write_record(results, record)


LOCAL = "local"
"""Below the results of a clone: the user's own records, beside those that came with it."""


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
    """Read one file; see :class:`Loaded` for what may be wrong with it.

    A summary has the keys of :class:`mtbench.records.record.RunSummary` alone.
    """
    try:
        if not path.is_file():
            raise OSError("no file")
        record = parse(path.read_bytes(), summary=summary)
    except (OSError, ValueError, RecursionError) as error:
        return _bad({}, path, f"cannot be read ({_brief(error)}): half-written or damaged", "unreadable")
    if not isinstance(record, dict) or not isinstance(record.get("schema"), int):
        return _bad({}, path, "is JSON, but not a run record (no schema version)", "invalid")
    if record["schema"] > SCHEMA:
        message = f"has schema {record['schema']}, newer than this mtbench reads ({SCHEMA}): upgrade mtbench"
        return _bad(record, path, message, "newer")
    record = upgrade(record)
    problem = validate(record)
    if problem:
        return _bad(record, path, f"is not a whole record: {problem}", "invalid")
    record = fill({k: v for k, v in record.items() if k not in HEAVY} if summary else record, summary=summary)
    if record["status"] == "complete" and record.get("average") is None and not _serves(record):
        return _bad(record, path, "finished, but has no average: a task has no result", "incomplete")
    return Loaded(cast("RunRecord", record), path)


def _serves(record: Raw) -> bool:
    """Whether a run that is about some tasks alone has the figures of these."""
    served = served_tasks(record["spec"])
    return served is not None and average(record["tasks"], served, record.get("metric", "")) is not None


def _bad(record: Raw, path: Path, problem: str, kind: Kind) -> Loaded:
    return Loaded(cast("RunRecord", record), path, problem, kind)


USUAL_SUITE = "kilt"
"""Whose board is meant where nobody says it and there are several."""


def suite_meant(results: Path, given: str | None) -> str:
    """The suite that is ``given``, else the only one that has records, else :data:`USUAL_SUITE`."""
    names = {
        folder.name.rpartition("@")[0] for place in (results, results / LOCAL) for folder in _folders(place / "runs")
    }
    return given or (names.pop() if len(names) == 1 else USUAL_SUITE)


def _record_files(results: Path, suite: str | None, profile: str | None) -> Iterator[Path]:
    for suite_folder in [*_folders(results / "runs"), *_folders(results / LOCAL / "runs")]:
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


def _brief(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
