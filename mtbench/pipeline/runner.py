"""Carrying out one run: its stages in order, each found in the store or computed, then the record."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mtbench.errors import MtbenchError, RunError
from mtbench.pipeline import stages
from mtbench.pipeline.assemble import complete, skeleton
from mtbench.pipeline.context import Context, Listener
from mtbench.pipeline.followers import current_leader
from mtbench.pipeline.plan import Plan, Stage
from mtbench.records.errors import describe_error
from mtbench.storage.store import Built, Store

WriteRecord = Callable[[dict[str, Any]], object]


def carry_out(
    plan: Plan,
    run_id: str,
    store: Store,
    write: WriteRecord,
    *,
    until: str | None = None,
    listener: Listener | None = None,
) -> dict[str, Any]:
    """Compute what is missing and return the finished record, having written it.

    Raises what stopped the run, after the record says ``failed`` or ``interrupted``: MtbenchError for what has a
    name, RunError for what has none (its traceback stands in the record).
    """
    record = skeleton(plan, run_id, "running", _now())
    write(record)
    built: dict[str, Built] = {}
    context = Context(plan.run, store, listener)
    try:
        for stage in plan.until(until):
            built[stage.key] = build_stage(context, stage)
        complete(record, plan, context, built)
    except KeyboardInterrupt:
        write(_stopped(record, plan, context, built, "interrupted", None))
        raise
    except (Exception, SystemExit) as error:  # a plugin may try to end the process
        write(_stopped(record, plan, context, built, "failed", error))
        if isinstance(error, MtbenchError):
            raise
        raise RunError(f"{run_id}: {type(error).__name__}: {error}") from error
    whole = plan.final.key in built
    record["status"] = "complete" if whole else "interrupted"
    if not whole:
        record["error"] = {"type": "Until", "message": f"stopped after {until} as asked", "traceback": []}
    record["finished"] = _now()
    write(record)
    return record


def build_stage(context: Context, stage: Stage) -> Built:
    """One finished stage, computed if it is absent; the listener is told."""

    def compute(work: Any) -> dict[str, Any] | None:
        context.listener.stage_started(stage)
        leader = current_leader()
        return leader.compute(context, stage, work) if leader else stages.compute(context, stage, work)

    began = time.monotonic()
    built = context.store.build(stage.name, stage.key, stage.content, compute)
    context.listener.stage_finished(stage, built.reused, time.monotonic() - began)
    return built


def _stopped(
    record: dict[str, Any],
    plan: Plan,
    context: Context,
    built: dict[str, Built],
    status: str,
    error: Exception | SystemExit | None,
) -> dict[str, Any]:
    if built:
        with contextlib.suppress(OSError):  # a stage may be what is gone
            complete(record, plan, context, built)
        record.pop("average", None)
    record["status"], record["finished"] = status, _now()
    if error is not None:
        run = plan.run
        places = {context.store.root: "<store>", run.suite.root: f"<{run.suite.name}>"}
        if run.config.encoder.path != "tiny":
            places[Path(run.config.encoder.path)] = run.encoder["name"]
        record["error"] = describe_error(error, places)
    return record


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
