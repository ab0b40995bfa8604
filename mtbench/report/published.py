"""Figures that papers report, for rows labelled as such and for tracing one's own against them.

They stand in ``tasks/published/published.csv`` in percent, one row per source, table, system and task. Nothing here
was measured by mtbench.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources

from mtbench.errors import DataError

TABLES = {
    ("kilt", "rprecision_page"): (("taco-tacl2023", "table1"), ("taco-tacl2023", "table3")),
    ("kilt", "rprecision_passage"): (("taco-tacl2023", "table9"),),
    ("mixed", "recall@100"): (("taco-tacl2023", "table4"),),
}
"""Which tables are comparable with a suite's own rows (the same tasks, metric and split), by suite and metric."""

COUNTERPARTS = {
    "naive": "TACO w/o adaptive (naive)",
    "tsage": "TACO",
    "pcgrad": "PCG",
    "cgd": "CGD",
    "gradnorm": "GradNorm",
    "bm25": "BM25",
    "per-task": "T5-ANCE (task-specific)",
}
"""Which published system an optimizer (with its defaults) stands for."""

_SAME_TASK = {
    "aidayago2": ("aidayago2", "aida", "el"),
    "triviaqa": ("triviaqa", "tqa"),
    "hotpotqa": ("hotpotqa", "hopo"),
}


@dataclass(frozen=True)
class Reported:
    """One system's published figures, fractions of 1; ``average`` as printed in the paper."""

    system: str
    source: str
    tasks: dict[str, float] = field(default_factory=dict)
    average: float | None = None
    note: str = ""


def reported_systems(suite: str, metric: str, tasks: list[str]) -> list[Reported]:
    """The published dev-set rows for a suite's tasks, best average first; empty where nothing is comparable.

    A system that two tables print with the same figures is one row. Names of tasks are the suite's own.
    """
    found: dict[str, Reported] = {}
    for source, table in TABLES.get((suite, metric), ()):
        systems: dict[str, list[dict[str, str]]] = {}
        for row in _rows():
            if (row["source"], row["table"], row["split"], row["metric"]) == (source, table, "dev", metric):
                systems.setdefault(row["system"], []).append(row)
        for system, rows in systems.items():
            found.setdefault(system, _reported(system, f"{source} {table}", rows, tasks))
    return sorted(found.values(), key=lambda r: -(r.average or 0.0))


def downstream_systems(suite: str, tasks: list[str]) -> list[Reported]:
    """The published figures of answers (Maillard et al. 2021, Table 4: on KILT's test sets), best average first."""
    if suite != "kilt":
        return []
    source, table = "mtdpr-acl2021", "table4"
    rows = [r for r in _rows() if (r["source"], r["table"], r["metric"]) == (source, table, "downstream")]
    systems = dict.fromkeys(r["system"] for r in rows)
    found = [_reported(s, f"{source} {table}", [r for r in rows if r["system"] == s], tasks) for s in systems]
    return sorted(found, key=lambda r: -(r.average or 0.0))


def published_system(source: str, table: str, split: str, metric: str, system: str) -> Reported | None:
    """One system's figures in one table, tasks as the file names them; None where the file has no such row."""
    key = (source, table, split, metric, system)
    rows = [r for r in _rows() if (r["source"], r["table"], r["split"], r["metric"], r["system"]) == key]
    if not rows:
        return None
    return _reported(system, f"{source} {table}", rows, [r["task"] for r in rows if r["task"] != "average"])


MATRICES = {("kilt", metric): ("mtdpr-acl2021", "table6") for metric in ("rprecision_page", "rprecision_passage")}
"""Where runs on one task each, scored on every task, are published, by suite and metric."""


def reported_matrix(suite: str, metric: str, tasks: Sequence[str]) -> dict[str, Reported]:
    """Task -> the published figures of the retriever trained on it alone; empty where nothing is comparable."""
    source, table = MATRICES.get((suite, metric), ("", ""))
    trained = {row["system"].removeprefix("DPR trained on "): row["system"] for row in _rows() if row["table"] == table}
    found: dict[str, Reported] = {}
    for task in tasks:
        system = next((s for name, s in trained.items() if same_task(name, task) and s != name), None)
        rows = [r for r in _rows() if system and _is_of(r, source, table, metric) and r["system"] == system]
        if rows and system:
            found[task] = _reported(system, f"{source} {table}", rows, list(tasks))
    return found


def _is_of(row: Mapping[str, str], source: str, table: str, metric: str) -> bool:
    return (row["source"], row["table"], row["split"], row["metric"]) == (source, table, "dev", metric)


def same_task(published: str, own: str) -> bool:
    """Whether a suite's task is the one that ``published.csv`` calls ``published``."""
    return own in _SAME_TASK.get(published, (published,))


def _reported(system: str, source: str, rows: list[dict[str, str]], tasks: list[str]) -> Reported:
    values = {r["task"]: float(r["value"]) / 100 for r in rows}
    named = {}
    for task in tasks:
        for published, own in _SAME_TASK.items():
            if task in own and published in values:
                named[task] = values[published]
        if task in values:
            named[task] = values[task]
    note = next((r["note"] for r in rows if r["note"].startswith("not comparable")), "")
    return Reported(system, source, named, values.get("average"), note)


@cache
def _rows() -> tuple[dict[str, str], ...]:
    file = resources.files("tasks") / "published" / "published.csv"
    if not file.is_file():
        raise DataError("the published figures are missing", path=str(file), remedy="Reinstall mtbench.")
    return tuple(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
