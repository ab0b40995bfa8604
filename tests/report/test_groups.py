"""Tasks at floor and ceiling, and gains on the others."""

from __future__ import annotations

from mtbench.report.groups import group_notes
from mtbench.report.rows import Row
from mtbench.report.statistics import estimate


def row(label: str, **tasks: tuple[float, ...]) -> Row:
    estimates = {task: estimate(dict(enumerate(scores))) for task, scores in tasks.items()}
    return Row(label, label, "optimizer", tasks=estimates, seeds_done=list(range(len(next(iter(tasks.values()))))))


def test_gains_are_told_on_the_tasks_that_can_tell() -> None:
    base = row("naive", low=(0.01, 0.02), high=(0.97, 0.99), a=(0.5, 0.6), b=(0.3, 0.2))
    other = row("uw", low=(0.4, 0.4), high=(0.5, 0.5), a=(0.52, 0.63), b=(0.32, 0.23))
    [told] = group_notes([base, other], base, ["low", "high", "a", "b"])
    assert "low at the floor (naive below 5 %); high at the ceiling (naive above 95 %)" in told
    assert "Gain on the other 2: uw +2.50 [" in told and "naive +" not in told


def test_nothing_is_said_where_all_tasks_can_tell_or_nothing_is_there() -> None:
    base = row("naive", a=(0.05, 0.05), b=(0.95, 0.95))
    assert group_notes([base], base, ["a", "b"]) == [] and group_notes([base], None, ["a", "b"]) == []


def test_no_gain_is_told_where_no_task_can_tell() -> None:
    base, other = row("naive", a=(0.0,)), row("uw", a=(0.9,))
    [told] = group_notes([base, other], base, ["a"])
    assert told.endswith("a at the floor (naive below 5 %).")
