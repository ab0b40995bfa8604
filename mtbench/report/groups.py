"""Which tasks can tell methods apart at all: those that the baseline leaves neither on the floor nor at the ceiling."""

from __future__ import annotations

from collections.abc import Sequence

from mtbench.report.rows import Row
from mtbench.report.statistics import paired_t

FLOOR, CEILING = 0.05, 0.95
"""The baseline's mean score below which a task has hardly begun, and above which hardly anything is left to gain."""


def group_notes(rows: Sequence[Row], base: Row | None, tasks: Sequence[str]) -> list[str]:
    """The tasks at floor and ceiling by the thresholds above, and each method's gain on the others, with its 95 %
    interval over seeds; nothing where all tasks are among the others.

    ``rows``: of the configuration of ``base``, which the gains are over; seeds are paired.
    """
    if base is None or not base.seeds_done:
        return []
    means = {task: base.tasks[task].mean for task in tasks}
    floor = [t for t, mean in means.items() if mean is not None and mean < FLOOR]
    ceiling = [t for t, mean in means.items() if mean is not None and mean > CEILING]
    signal = [t for t in tasks if t not in (*floor, *ceiling)]
    if not floor and not ceiling:
        return []
    marked = [
        f"{', '.join(names)} at the {word} ({base.label} {side} {100 * limit:g} %)"
        for names, word, side, limit in ((floor, "floor", "below", FLOOR), (ceiling, "ceiling", "above", CEILING))
        if names
    ]
    text = f"Tasks that can hardly tell methods apart: {'; '.join(marked)}."
    gains = [told for row in rows if row is not base and (told := _gain(row, base, signal))] if signal else []
    return [text + (f" Gain on the other {len(signal)}: {'; '.join(gains)}." if gains else "")]


def _gain(row: Row, base: Row, tasks: Sequence[str]) -> str:
    if row.kind != "optimizer" or not row.seeds_done:
        return ""
    found = paired_t(_means(row, tasks), _means(base, tasks))
    if found.difference is None:
        return ""
    text = f"{row.label} {100 * found.difference:+.2f}"
    return (
        text if found.low is None or found.high is None else f"{text} [{100 * found.low:.2f}, {100 * found.high:.2f}]"
    )


def _means(row: Row, tasks: Sequence[str]) -> dict[int, float]:
    return {seed: sum(row.tasks[t].seeds[seed] for t in tasks) / len(tasks) for seed in row.seeds_done}
