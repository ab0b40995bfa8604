"""Per-query scores and rankings of finished runs, read from the store where it still has them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mtbench.evaluation.scores import TaskScores, read_scores
from mtbench.records.record import RunSummary
from mtbench.storage.store import Store


@dataclass
class QueryScores:
    """One metric of one row: task -> scores ``(seeds, queries)``, and the queries' ids in that order."""

    values: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    ids: dict[str, list[str]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    """Why a run's scores are not there, in words."""


def locate(record: RunSummary, store: Store) -> Path | str:
    """The run's file of per-query scores, or why it cannot be used."""
    if "per_query" not in record:
        return f"{record['run_id']} refers to no per-query scores"
    reference = record["per_query"]
    path = store.folder(reference["stage"], reference["fingerprint"]) / reference["file"]
    if not path.is_file():
        return f"{record['run_id']}: its per-query scores are not in the store"
    if hashlib.sha256(path.read_bytes()).hexdigest() != reference["sha256"]:
        return f"{record['run_id']}: its per-query scores in the store are not those of the record (sha256)"
    return path


def load_scores(runs: Mapping[int, RunSummary], seeds: Sequence[int], metric: str, store: Store) -> QueryScores:
    """Scores of ``metric`` for the given seeds; tasks without the metric, or with other queries, are left out."""
    found = QueryScores()
    tables: list[dict[str, TaskScores]] = []
    for seed in seeds:
        table, missing = _table(runs[seed], store)
        found.missing += missing
        tables.append(table)
    if not tables or found.missing:
        return found
    for task, first in tables[0].items():
        rows = [_in_order(t[task], first.ids, metric) for t in tables if task in t]
        whole = [r for r in rows if r is not None]
        if len(whole) == len(tables):
            found.values[task], found.ids[task] = np.stack(whole), list(first.ids)
    return found


def _table(record: RunSummary, store: Store) -> tuple[dict[str, TaskScores], list[str]]:
    """A run's scores by task, of a row of several runs each task's from the one that serves it; and what is missing."""
    parts: list[tuple[str | None, RunSummary]] = [*record["folded"].items()] if "folded" in record else [(None, record)]
    table: dict[str, TaskScores] = {}
    missing = []
    for task, run in parts:
        path = locate(run, store)
        if isinstance(path, str):
            missing.append(path)
            continue
        scores = read_scores(path)
        table |= scores if task is None else {task: scores[task]} if task in scores else {}
    return table, missing


def align(first: QueryScores, second: QueryScores) -> tuple[QueryScores, QueryScores]:
    """Both restricted to the tasks and queries they share, in the first one's order, with equally many seeds.

    A system with one run (BM25, an outside system) is repeated for every seed of the other.
    """
    left, right = QueryScores(missing=first.missing), QueryScores(missing=second.missing)
    for task in first.values:
        if task not in second.values:
            continue
        place = {id: i for i, id in enumerate(second.ids[task])}
        keep = [i for i, id in enumerate(first.ids[task]) if id in place]
        ids = [first.ids[task][i] for i in keep]
        ours, theirs = first.values[task][:, keep], second.values[task][:, [place[id] for id in ids]]
        seeds = max(len(ours), len(theirs))
        left.values[task] = np.broadcast_to(ours, (seeds, len(ids))) if len(ours) == 1 else ours
        right.values[task] = np.broadcast_to(theirs, (seeds, len(ids))) if len(theirs) == 1 else theirs
        left.ids[task] = right.ids[task] = ids
    return left, right


def _in_order(scores: TaskScores, ids: Sequence[str], metric: str) -> NDArray[np.float64] | None:
    if metric not in scores.per_query:
        return None
    if list(scores.ids) == list(ids):
        return scores.per_query[metric]
    place = {id: i for i, id in enumerate(scores.ids)}
    if set(place) != set(ids):
        return None
    return scores.per_query[metric][[place[id] for id in ids]]
