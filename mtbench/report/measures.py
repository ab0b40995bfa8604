"""What a row is worth beside its average: against a retriever for each task, by rank, and its worst task.

``delta_m`` is the mean over tasks of the relative gain over the row ``per-task``, seeds paired (Maninis et al. 2019,
"Attentive Single-Tasking of Multiple Tasks"), as a fraction of 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mtbench.report.rows import Row
from mtbench.report.statistics import Estimate, estimate

FLOOR = 0.01
"""A task that its own retriever does not reach this on has no relative gain that means anything."""
REFERENCES = {"delta_m": "steps", "delta_m_batch": "batch"}
"""Measure -> the budget of the row ``per-task`` that it is taken over."""
_STARTS = ("encoder", "warmup")


def add_measures(rows: Sequence[Row], tasks: Sequence[str]) -> list[str]:
    """Fill ``delta_m``, ``delta_m_batch``, ``mean_rank`` and ``worst`` of rows of one configuration, with what is to be
    said of them."""
    trained = [r for r in rows if r.kind == "optimizer" and r.seeds_done]
    notes: list[str] = []
    for measure, budget in REFERENCES.items():
        reference = _per_task(trained, budget)
        if reference is None:
            continue
        low = [t for t in tasks if (reference.tasks[t].mean or 0.0) < FLOOR]
        used = [t for t in tasks if t not in low]
        left_out = f", without {', '.join(low)} (below {100 * FLOOR:g} % there)" if low else ""
        notes.append(f"{measure}: mean over tasks of the gain over {reference.name}, relative to it{left_out}.")
        for row in trained:
            if row is not reference and used:
                row.measures[measure] = _relative_gain(row, reference, used)
    for row, ranks in zip(trained, _ranks_by_seed(trained, tasks), strict=True):
        row.mean_rank = sum(map(sum, ranks)) / (len(ranks) * len(tasks)) if ranks else None
        row.mean_rank_interval = bootstrap_interval(ranks)
    for row in trained:
        losses = {t: d for t, d in row.task_gains.items() if d.difference is not None and d.difference < 0}
        row.worst = min(losses, key=lambda t: losses[t].difference or 0.0, default=None)
    return notes


def missing_references(rows: Sequence[Row], suite: str, profile: str) -> list[str]:
    """For each measure that no row has for want of a reference, the command that makes it."""
    trained = [r for r in rows if r.kind == "optimizer" and not r.variant]
    seeds = sorted({seed for row in trained for seed in row.seeds_done})
    if not seeds:
        return []
    is_range = len(seeds) > 1 and seeds == list(range(seeds[0], seeds[-1] + 1))
    span = f"{seeds[0]}-{seeds[-1]}" if is_range else ",".join(map(str, seeds))
    command = f"mtbench run --optimizer naive --suite {suite} --profile {profile} --seeds {span} --protocol per-task"
    return [
        f"{measure} needs the row per-task{'' if budget == 'steps' else f' ({budget})'}: {command}"
        + ("" if budget == "steps" else f" --set train.budget={budget}")
        for measure, budget in REFERENCES.items()
        if _per_task(trained, budget) is None
    ]


def _per_task(rows: Sequence[Row], budget: str) -> Row | None:
    """The row with a retriever for each task, from the encoder before from the shared warm-up: a multitask run may be
    seen as either's counterpart."""
    found = [r for r in rows if r.protocol and r.protocol["name"] == "per-task" and r.seeds_done]
    fitting = [r for r in found if r.protocol and r.protocol["budget"] == budget and r.protocol["examples"] is None]
    by_start = {r.protocol["start"]: r for r in fitting if r.protocol}
    return next((by_start[start] for start in _STARTS if start in by_start), None)


def _relative_gain(row: Row, reference: Row, tasks: Sequence[str]) -> Estimate:
    seeds = sorted(set(row.seeds_done) & set(reference.seeds_done))
    gains: dict[int, float] = {}
    for seed in seeds:
        own = [(row.tasks[t].seeds[seed], reference.tasks[t].seeds[seed]) for t in tasks]
        if all(base > 0 for _, base in own):
            gains[seed] = sum((value - base) / base for value, base in own) / len(own)
    return estimate(gains) if gains else Estimate(None, reason="no seed in common")


def _ranks_by_seed(rows: Sequence[Row], tasks: Sequence[str]) -> list[list[list[float]]]:
    """Each row's ranks (1 is best, equal scores share) by task, for each of the seeds that all rows have; none for a
    row that is alone."""
    seeds = sorted(set.intersection(*(set(r.seeds_done) for r in rows))) if rows else []
    found: list[list[list[float]]] = [[] for _ in rows]
    if len(rows) < 2 or not tasks:
        return found
    for seed in seeds:
        by_task = [_ranks([r.tasks[task].seeds[seed] for r in rows]) for task in tasks]
        for i, ranks in enumerate(found):
            ranks.append([of_task[i] for of_task in by_task])
    return found


def bootstrap_interval(values: Sequence[Sequence[float]], draws: int = 2000) -> tuple[float, float] | None:
    """The 95 % percentile interval of the mean of ``values`` (seeds x tasks), both drawn anew with replacement
    (Efron and Tibshirani 1993, chapter 13): it speaks of other seeds and of other tasks of this kind. None without two
    seeds. The draws are seeded, so that a table stays the same.
    """
    if len(values) < 2:
        return None
    import numpy as np

    table, source = np.asarray(values, dtype=float), np.random.default_rng(0)
    seeds = source.integers(table.shape[0], size=(draws, table.shape[0], 1))
    tasks = source.integers(table.shape[1], size=(draws, 1, table.shape[1]))
    low, high = np.quantile(table[seeds, tasks].mean(axis=(1, 2)), (0.025, 0.975))
    return float(low), float(high)


def _ranks(scores: Sequence[float]) -> list[float]:
    counts: Mapping[float, int] = {s: scores.count(s) for s in scores}
    return [1 + sum(other > s for other in scores) + (counts[s] - 1) / 2 for s in scores]
