"""Settings small enough to run a whole pipeline in seconds, and what of a record must not depend on who computed it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtbench.execution.grid import parse_axes
from mtbench.execution.matrix import RunMatrix
from mtbench.execution.sweep_plan import Sweep, SweepRequest

TINY = (
    "train.warmup_steps=4",
    "train.steps=3",
    "train.batch_size=16",
    "encoder.hidden=16",
    "encoder.feed_forward=16",
    "encoder.vocabulary=256",
    "data.query_max_length=8",
    "data.passage_max_length=16",
)
GRID = ("tau=1,2", "beta=0,0.9")


@dataclass
class Local:
    """A finished sweep and where it lies."""

    sweep: Sweep
    store: Path
    results: Path


LIMIT = 20
"""Training queries a task: the least of which a tenth can be kept for choosing."""


def tiny_matrix(optimizers: tuple[str, ...] = ("tsage",), *, episodes: int = 2, **more: Any) -> RunMatrix:
    """A matrix of tiny runs without baselines."""
    assignments = [*TINY, f"train.episodes={episodes}", *more.pop("assignments", ())]
    return RunMatrix(list(optimizers), "kilt", assignments=assignments, limit=LIMIT, baselines=(), **more)


def tiny_sweep(*grid: str, lines: bool = False, **more: Any) -> SweepRequest:
    """A sweep over tiny runs."""
    return SweepRequest(tiny_matrix(**more), tuple(parse_axes(grid)), lines)


def outcome(record: dict[str, Any]) -> dict[str, Any]:
    """What a run found out: everything but times and machines."""
    kept = {k: record.get(k) for k in ("status", "spec", "metric", "tasks", "average", "selection", "history")}
    digests = [e["update_digest"] for e in record["training"]["episodes"]]
    return {**kept, "digests": digests, "per_query": record["per_query"]["fingerprint"]}


def records_in(results: Path) -> dict[str, dict[str, Any]]:
    """Run id -> record of every file below ``results``."""
    files = sorted(results.glob("runs/*/*/*/*.json"))
    return {f.stem: json.loads(f.read_text(encoding="utf-8")) for f in files}
