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
    for row, rank in zip(trained, _mean_ranks(trained, tasks), strict=True):
        row.mean_rank = rank
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


def _mean_ranks(rows: Sequence[Row], tasks: Sequence[str]) -> list[float | None]:
    """The mean of each row's rank (1 is best, equal scores share) over tasks and the seeds that all rows have."""
    seeds = set.intersection(*(set(r.seeds_done) for r in rows)) if rows else set()
    if not seeds or len(rows) < 2:
        return [None] * len(rows)
    totals = [0.0] * len(rows)
    for seed in seeds:
        for task in tasks:
            scores = [r.tasks[task].seeds[seed] for r in rows]
            for i, rank in enumerate(_ranks(scores)):
                totals[i] += rank
    return [total / (len(seeds) * len(tasks)) for total in totals]


def _ranks(scores: Sequence[float]) -> list[float]:
    counts: Mapping[float, int] = {s: scores.count(s) for s in scores}
    return [1 + sum(other > s for other in scores) + (counts[s] - 1) / 2 for s in scores]
