"""Which rows of a board have an analysis, and what figures of it have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mtbench.errors import UsageError
from mtbench.records.curves import Analysis
from mtbench.records.record import analysis_of
from mtbench.report.board import Board
from mtbench.report.rows import Row


@dataclass(frozen=True, slots=True)
class Analysed:
    """A row, the seed whose analysis is shown (its first), and the analysis."""

    row: Row
    seed: int
    analysis: Analysis

    @property
    def name(self) -> str:
        return self.row.name


def analysed(board: Board, optimizer: str | None, rows: Sequence[Row] | None = None) -> list[Analysed]:
    """The rows with an analysis; UsageError saying how to make one."""
    found = []
    for row in board.rows if rows is None else rows:
        if row.kind != "optimizer" or (optimizer and row.optimizer != optimizer):
            continue
        for seed, record in sorted(row.runs.items()):
            analysis = analysis_of(record)
            if analysis is not None:
                found.append(Analysed(row, seed, analysis))
                break
    if not found:
        name = optimizer or "naive,tsage"
        raise UsageError(
            f"no run{f' of {optimizer!r}' if optimizer else ''} on {board.label} has an analysis"
            " of this version.\n"
            f"  Make it from the checkpoints: mtbench run --optimizer {name} --suite {board.suite}"
            f" --profile {board.profile} --until analyze"
        )
    return found


def title_of(board: Board, runs: Sequence[Analysed]) -> str:
    """What the figure is of: a share of one run has no interval, so the seed is named."""
    seeds = sorted({run.seed for run in runs})
    told = f"seed {seeds[0]}" if len(seeds) == 1 else ", ".join(f"{run.name}: seed {run.seed}" for run in runs)
    return f"{board.label}, profile {board.profile}, {told}"


def span_text(values: Sequence[float], decimals: int = 0) -> str:
    """``12``, or ``12 to 15`` for the smallest and the largest of them."""
    low, high = (f"{value:.{decimals}f}" for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"
