"""``mtbench.run``: the command line's ``run`` for Python."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtbench.errors import UsageError
from mtbench.execution.local import execute
from mtbench.execution.progress import Reporter
from mtbench.execution.work import Job, Order, Rerun, check_rerun, make_jobs, requests
from mtbench.pipeline.plan import STAGES
from mtbench.pipeline.request import Resolver
from mtbench.registry import BASELINES, add_plugin_files
from mtbench.storage.mirror import fetch_results
from mtbench.storage.places import default_root, expanded
from mtbench.storage.store import Store

_ONE_AT_A_TIME = threading.RLock()
"""Models are made and seeded with generators and defaults of the whole process."""


@dataclass
class Prepared:
    """Jobs that have been checked and planned, and where they go."""

    jobs: list[Job]
    store: Store
    results: Path


def plan_jobs(
    order: Order,
    store: str | Path | None = None,
    results: str | Path = "results",
    rerun: Rerun = "missing",
    until: str | None = None,
) -> Prepared:
    """Check everything and plan every run; nothing is computed but the text of a generated suite."""
    check_rerun(rerun)
    add_plugin_files(list(order.plugins))
    root = expanded(store) if store else default_root()
    folder = expanded(results)
    fetch_results(folder)
    kept = Store(root)
    jobs = make_jobs(requests(order), Resolver(root), folder, rerun, until)
    for job in jobs:
        # a clone comes with records; only what this store has scored stands in for a run here
        if job.finished and job.finished["status"] == "complete" and not kept.has("evaluate", job.plan.final.key):
            job.finished = None
    return Prepared(jobs, kept, folder)


def run(
    optimizer: str | Sequence[str],
    suite: str | Path,
    *,
    seeds: Sequence[int] | int = (0,),
    profile: str | Path = "mini",
    set: Sequence[str] | dict[str, Any] = (),
    encoder: str | Path | None = None,
    limit: int | None = None,
    plugins: Sequence[str | Path] = (),
    store: str | Path | None = None,
    results: str | Path = "results",
    rerun: Rerun = "missing",
    until: str | None = None,
    baselines: Sequence[str] = BASELINES,
    reporter: Reporter | None = None,
) -> list[dict[str, Any]]:
    """Run the whole pipeline for every combination and return the records, baselines first.

    A Path names a folder or file where a string may also be a registered name. ``set`` has the items of ``--set``,
    as ``"tau=2"`` or ``{"tau": 2}``. Raises the errors of ``mtbench.errors`` for a user's mistake before any work; a
    run that fails has ``status`` ``failed`` in its record. Calls from several threads wait for each other.
    """
    items = [f"{k}={v}" for k, v in set.items()] if isinstance(set, dict) else list(set)
    names = [optimizer] if isinstance(optimizer, str) else list(optimizer)
    order = Order(
        names,
        _place(suite),
        [seeds] if isinstance(seeds, int) else list(seeds),
        _place(profile),
        items,
        None if encoder is None else _place(encoder),
        limit,
        tuple(str(file) for file in plugins),
        tuple(baselines),
    )
    check_stage(until)
    with _ONE_AT_A_TIME:
        return carry_out_jobs(plan_jobs(order, store, results, rerun, until), until, reporter or Reporter(quiet=True))


def _place(name: str | Path) -> str:
    """A Path always means a place, never a registered name."""
    return str(expanded(name).absolute()) if isinstance(name, Path) else name


def carry_out_jobs(prepared: Prepared, until: str | None, reporter: Reporter) -> list[dict[str, Any]]:
    """Records of all jobs in order: those that stand already, and those computed now."""
    waiting = [job for job in prepared.jobs if job.finished is None]
    computed = {r["run_id"]: r for r in execute(waiting, prepared.store, prepared.results, reporter, until)}
    return [job.finished or computed[job.run_id] for job in prepared.jobs]


def check_stage(name: str | None) -> None:
    """UsageError unless ``name`` is a stage or None."""
    if name is not None and name not in STAGES:
        raise UsageError(f"--until {name!r}: no such stage. Stages: {', '.join(STAGES)}")
