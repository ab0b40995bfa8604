"""How numbers look in every table: percent with two decimals, units that fit, a reason where a number is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mtbench.report.board import Board
from mtbench.report.rows import Row
from mtbench.report.statistics import Difference, Estimate


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its key in CSV and JSON, its header, and whether it belongs to the scores or to the costs."""

    key: str
    header: str
    part: str = "scores"


_OPTIONAL = ("delta_m", "delta_m_batch", "rank", "worst")
"""Columns that a board has only where some row fills them; its notes name the command that does."""


def columns(board: Board) -> list[Column]:
    """Columns of a printed board after the method's name."""
    scores = [Column(f"task:{name}", name) for name in board.tasks]
    scores += [
        Column("average", "average"),
        Column("interval", "±"),
        Column("gain", f"gain over {board.baseline}"),
        Column("delta_m", "delta_m"),
        Column("delta_m_batch", "delta_m_batch"),
        Column("rank", "mean rank"),
        Column("worst", "worst"),
        Column("seeds", "seeds"),
    ]
    costs = [
        Column("step", "ms/step", "costs"),
        Column("ratio", f"× {board.baseline}", "costs"),
        Column("memory", "peak memory", "costs"),
        Column("state", "state", "costs"),
        Column("hours", "time", "costs"),
        Column("trials", "trials", "costs"),
    ]
    found = [c for c in scores if c.key not in _OPTIONAL or any(cell(row, c) for row in board.rows)]
    return found + costs


def cell(row: Row, column: Column) -> str:
    """The text of one cell."""
    if column.key.startswith("task:"):
        task = column.key.removeprefix("task:")
        return score(row.tasks[task], row.task_gains.get(task))
    if column.key == "average":
        return score(row.average) + (" •" if row.best_tier else "")
    if column.key == "interval":
        return interval(row.average)
    if column.key == "gain":
        return gain(row.gain)
    if column.key in row.measures:
        return relative(row.measures[column.key])
    if column.key == "rank":
        return "" if row.mean_rank is None else f"{row.mean_rank:.2f}"
    if column.key == "worst":
        return "" if row.worst is None else f"{row.worst} {gain(row.task_gains[row.worst])}"
    if column.key == "seeds":
        return seeds(row)
    return cost(row, column.key)


def relative(estimate: Estimate) -> str:
    """A relative gain in percent with half its interval."""
    if estimate.mean is None:
        return ""
    half = interval(estimate)
    return f"{100 * estimate.mean:+.1f}" + (f" ±{float(half):.1f}" if half else "")


def percent(value: float) -> str:
    """A fraction of 1 as percent with two decimals."""
    return f"{100 * value:.2f}"


def score(estimate: Estimate, test: Difference | None = None) -> str:
    """A score, with a star if ``test`` earned one, or why there is none."""
    if estimate.mean is None:
        return estimate.reason or "missing"
    return percent(estimate.mean) + ("*" if test is not None and test.star else "")


def interval(estimate: Estimate) -> str:
    """Half the width of the interval in points; empty where there is none."""
    if estimate.mean is None or estimate.high is None:
        return ""
    return f"{100 * (estimate.high - estimate.mean):.2f}"


def gain(test: Difference | None) -> str:
    """A signed difference in points with its star."""
    if test is None or test.difference is None:
        return ""
    return f"{100 * test.difference:+.2f}" + ("*" if test.star else "")


def seeds(row: Row) -> str:
    """``3``, or ``2/3`` if a run did not finish; the papers' rows are labelled."""
    if row.kind == "reported":
        return "reported"
    done, known = len(row.seeds_done), len(row.seeds_known)
    return str(done) if done == known else f"{done}/{known}"


def seeds_text(estimate: Estimate) -> str:
    """``seed 0: 61.20`` a line, then the interval."""
    lines = [f"seed {seed}: {percent(value)}" for seed, value in sorted(estimate.seeds.items())]
    if estimate.low is not None and estimate.high is not None:
        lines.append(f"95 % interval {percent(estimate.low)} to {percent(estimate.high)}")
    return "\n".join(lines)


def cost(row: Row, key: str) -> str:
    """A cost with its unit; ``–`` where none was measured. Empty for what is no cost (a measure without reference)."""
    if key.startswith("delta_m"):
        return ""
    value: float | None
    if key == "trials":
        return "–" if row.trials is None else str(row.trials)
    if key == "step":
        value = row.costs.get("step_ms")
        return "–" if value is None else f"{value:.1f}"
    if key == "ratio":
        value = row.costs.get("step_ratio")
        return "–" if value is None else f"{value:.2f}"
    if key == "hours":
        return duration(row.costs.get("hours"))
    return size(row.costs.get("peak_memory_bytes" if key == "memory" else "optimizer_state_bytes"))


def duration(hours: float | None) -> str:
    """Hours in the unit that people think in: ``42 s``, ``1.9 min``, ``3.4 h``, ``2.1 days``."""
    if hours is None:
        return "–"
    if hours < 1 / 60:
        return f"{3600 * hours:.0f} s"
    if hours < 1:
        return f"{60 * hours:.1f} min"
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"


def size(value: float | None) -> str:
    """Bytes in the unit that gives one to four digits."""
    if value is None:
        return "–"
    for unit in ("B", "kB", "MB", "GB"):
        if abs(value) < 1000:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def why(board: Board) -> list[str]:
    """Every line that explains a row: failed seeds, missing tasks, remarks on reported systems."""
    lines = [f"{row.name}: {note}" for row in board.rows for note in row.notes]
    return lines + board.problems


def caption(board: Board) -> str:
    """``kilt@1, profile mini, page R-precision in percent``."""
    from mtbench.report.notes import metric_title

    return f"{board.label}, profile {board.profile}, {metric_title(board.metric)} in percent"


def fit_columns(sizes: Sequence[int], first: int, width: int) -> list[list[int]]:
    """Cut columns of the given text widths into groups that fit a terminal beside a first column in each.

    Numbers are never shortened: a column too wide for the terminal stands alone.
    """
    room = width - first - 4
    pieces: list[list[int]] = [[]]
    used = 0
    for index, size in enumerate(sizes):
        if pieces[-1] and used + size + 3 > room:
            pieces.append([])
            used = 0
        pieces[-1].append(index)
        used += size + 3
    return pieces
