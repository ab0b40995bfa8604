"""One run: its stages in order, each found in the store or computed, then the record."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from mtbench import interrupts
from mtbench.errors import MtbenchError, RunError, is_mistake
from mtbench.evaluation.scores import SCORES_FILE
from mtbench.pipeline import stages
from mtbench.pipeline.assemble import Stages, begin, complete
from mtbench.pipeline.context import Context, Listener
from mtbench.pipeline.demand import CARRIERS, read_by
from mtbench.pipeline.followers import current_leader
from mtbench.pipeline.plan import Plan, Stage
from mtbench.records.errors import describe_error
from mtbench.records.files import as_stored, write_record
from mtbench.records.identity import record_path, timestamp
from mtbench.records.record import RunRecord, StageEntry, Status
from mtbench.storage.atomic import write_text
from mtbench.storage.manifest import Results
from mtbench.storage.store import Built, Store


class Outcome(NamedTuple):
    """The record as it stands in its file, and what stopped the run, if something did.

    ``error`` is a RunError for what has no name (its cause is the error itself, its traceback stands in the record).
    """

    record: RunRecord
    error: MtbenchError | None = None


Write = Callable[[Path, RunRecord], Path]
"""Puts a record into its file below a folder of results."""


def run_plan(
    plan: Plan,
    store: Store,
    results: Path,
    *,
    until: str | None = None,
    listener: Listener | None = None,
    write: Write = write_record,
) -> Outcome:
    """Compute what is missing of a run and write its record below ``results``: when it begins and when it ends.

    A run that fails has its whole record too, with ``status`` ``failed``. A mistake of usage, configuration or data is
    raised and leaves no record. KeyboardInterrupt passes through, after the record says ``interrupted``.
    """
    context = Context(plan.run, store, listener)
    record = begin(plan)
    place = record_path(results, record["spec"], record["run_id"])
    earlier = place.read_text(encoding="utf-8") if place.is_file() else None
    write(results, record)
    built: Stages = {}
    try:
        build_demanded(context, plan.until(until), built)
        complete(record, plan, context, built)
        _carry_over(record, plan, earlier)
    except KeyboardInterrupt:
        _end(write, results, _stopped(record, plan, context, built), "interrupted")
        raise
    except (Exception, SystemExit) as error:
        if is_mistake(error):
            _put_back(place, earlier)
            raise
        record = _stopped(record, plan, context, built)
        record["error"] = describe_error(error, _places(plan, store))
        return Outcome(_end(write, results, record, "failed"), _named(error, record["run_id"]))
    whole = all(stage.key in built for stage in plan.ends)
    if not whole:
        record["error"] = {"type": "Until", "message": f"stopped after {until} as asked", "traceback": []}
    return Outcome(_end(write, results, record, "complete" if whole else "interrupted"))


READ_FOR_RECORD = {"warmup": ("journal.json",), "train": ("journal.json",), "evaluate": (SCORES_FILE,)}
"""Files of stages that the record is made of or points to, beside their manifests."""


def build_demanded(context: Context, stages: Sequence[Stage], built: Stages) -> None:
    """Compute what is missing of ``stages`` and needed (:mod:`mtbench.pipeline.demand`), into ``built``.

    Stages that stand are known from their manifests; the files of one are checked when another is computed from it, and
    a damaged one is computed again then. A stage that is gone and that nothing needs is not in ``built``, unless it
    was freed.
    """
    store = context.store
    asked = stages[-1] if stages else None
    for stage in stages:
        if stage.key in built:
            continue
        known = store.glance(stage.name, stage.key, READ_FOR_RECORD.get(stage.name, ()))
        if known is None and (stage.name not in CARRIERS or stage is asked):
            build_with_inputs(context, stage, built)
            continue
        known = known or store.freed(stage.name, stage.key)
        if known is not None:
            built[stage.key] = known
            context.listener.stage_finished(stage, True, known.seconds)


def build_with_inputs(context: Context, stage: Stage, built: Stages) -> None:
    """Compute ``stage``, and before it what it reads where that is gone or damaged; all go into ``built``."""
    for before in read_by(stage).values():
        if context.store.open(before.name, before.key) is None:
            build_with_inputs(context, before, built)
    built[stage.key] = build_stage(context, stage)


def build_stage(context: Context, stage: Stage) -> Built:
    """One finished stage, computed if it is absent; the listener is told."""

    def compute(work: Path) -> Results | None:
        context.listener.stage_started(stage)
        leader = current_leader()
        return leader.compute(context, stage, work) if leader else stages.compute(context, stage, work)

    interrupts.check()
    began = time.monotonic()
    built = context.store.build(stage.name, stage.key, stage.content, compute)
    context.listener.stage_finished(stage, built.reused, time.monotonic() - began)
    return built


def _carry_over(record: RunRecord, plan: Plan, earlier: str | None) -> None:
    """What the earlier record says of stages that are gone and that nothing needed: what they cost stays known."""
    before: dict[str, StageEntry] = {}
    try:
        before = {s["fingerprint"]: s for s in json.loads(earlier or "{}").get("stages", [])}
    except (ValueError, AttributeError, TypeError, KeyError):
        return  # half-written, or no record
    now, cost = {s["fingerprint"]: s for s in record["stages"]}, record["cost"]
    missing = [before[s.key] for s in plan.stages if s.key in before and s.key not in now]
    for entry in missing:
        entry["reused"] = True
        now[entry["fingerprint"]] = entry
        cost["seconds"][entry["name"]] = round(cost["seconds"].get(entry["name"], 0.0) + entry["seconds"], 3)
        cost["total_seconds"] = round(cost["total_seconds"] + entry["seconds"], 3)
    record["stages"] = [now[s.key] for s in plan.stages if s.key in now]


def _stopped(record: RunRecord, plan: Plan, context: Context, built: Stages) -> RunRecord:
    """The record of as much as was done."""
    if built:
        with contextlib.suppress(OSError):  # a stage may be what is gone
            complete(record, plan, context, built)
        record.pop("average", None)
    return record


def _put_back(place: Path, earlier: str | None) -> None:
    """A mistake is no run: what stood in the record's place stands there again."""
    if earlier is None:
        place.unlink(missing_ok=True)
    else:
        write_text(place, earlier)


def _end(write: Write, results: Path, record: RunRecord, status: Status) -> RunRecord:
    record["status"], record["finished"] = status, timestamp()
    record = as_stored(results, record)
    write(results, record)
    return record


def _named(error: Exception | SystemExit, run_id: str) -> MtbenchError:
    if isinstance(error, MtbenchError):
        return error
    named = RunError(f"{run_id}: {type(error).__name__}: {error}")
    named.__cause__ = error
    return named


def _places(plan: Plan, store: Store) -> dict[Path, str]:
    """Folders with the names that they have in a record."""
    run = plan.run
    places = {store.root: "<store>", run.suite.root: f"<{run.suite.name}>"}
    if run.config.encoder.path != "tiny":
        places[Path(run.config.encoder.path)] = run.encoder["name"]
    return places
