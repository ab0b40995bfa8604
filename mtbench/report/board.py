"""A leaderboard as data: ranked rows, and what is to be said of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from mtbench.report.folding import MULTITASK
from mtbench.report.rows import Row

DEFAULT_BASELINE = "naive"


@dataclass(slots=True)
class Board:
    """A ranked table; rows best first, rows without an average after those with one, reported rows last."""

    suite: str
    version: int
    profile: str
    metric: str
    baseline: str
    tasks: dict[str, str]
    """Task name -> title, in column order."""
    rows: list[Row]
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    protocol: str = MULTITASK
    """Whose rows it has: ``multitask`` is the main board, which has those of ``per-task`` too."""
    detectable: dict[int, float] = field(default_factory=dict)
    """Number of seeds -> smallest gain that as many seeds show four times out of five, fraction of 1."""

    @property
    def label(self) -> str:
        """``NAME@VERSION``."""
        return f"{self.suite}@{self.version}"

    @property
    def measured(self) -> list[Row]:
        """Rows from records."""
        return [row for row in self.rows if row.kind != "reported"]
