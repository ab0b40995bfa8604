"""The papers' tables as layouts: which published system stands in which line, which run of ours beside it.

They are data, in ``tasks/published/layouts.toml``; the figures stand in ``tasks/published/published.csv``.
"""

from __future__ import annotations

import shlex
import tomllib
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

from mtbench.errors import DataError, UnknownNameError
from mtbench.records.values import Params


@dataclass(frozen=True, slots=True)
class LayoutLine:
    """One line: the published system, and at most one way to find the run of ours that stands beside it."""

    system: str
    optimizer: str = ""
    params: Params = field(default_factory=dict)
    set: dict[str, Any] = field(default_factory=dict)
    """Settings of the pipeline in which the run differs from the board's own configuration, and in no others."""
    row: str = ""
    """The name of a row of the board, for rows that fold the runs of a protocol."""
    trained: str = ""
    """The task that a run of ``per-task`` was trained on; such a line has that run's figures on every task."""
    run: str = ""
    """What stands after ``mtbench run`` where it does not follow from the rest."""

    @property
    def has_own(self) -> bool:
        """Whether a run of mtbench can stand for the system."""
        return bool(self.optimizer or self.row or self.trained)

    def command(self, suite: str, profile: str) -> str:
        """The command that makes the run which is missing; empty where none can."""
        if not self.has_own:
            return ""
        words = ["mtbench", "run", "--optimizer", self.optimizer or "naive", "--suite", suite, "--profile", profile]
        if self.trained:
            words += ["--protocol", "per-task"]
        words += shlex.split(self.run)
        for key, value in {**self.params, **self.set}.items():
            words += ["--set", f"{key}={value}"]
        return shlex.join(words)


@dataclass(frozen=True, slots=True)
class Layout:
    """One table of a paper."""

    name: str
    title: str
    source: str
    table: str
    suite: str
    metrics: tuple[str, ...]
    columns: tuple[str, ...]
    """Tasks as ``published.csv`` names them, in the paper's order; empty where it prints averages alone."""
    lines: tuple[LayoutLine, ...]
    reference: str = ""
    """The system whose line the others are tested against."""
    split: str = "dev"
    average: bool = True
    notes: tuple[str, ...] = ()


def layout(name: str) -> Layout:
    """The layout called ``name``; UnknownNameError with all names."""
    known = layouts()
    if name not in known:
        raise UnknownNameError("layout", name, known, "mtbench leaderboard --help")
    return known[name]


@cache
def layouts() -> dict[str, Layout]:
    """Every layout by name, in the file's order."""
    file = resources.files("tasks") / "published" / "layouts.toml"
    if not file.is_file():
        raise DataError("the layouts of the papers' tables are missing", path=str(file), remedy="Reinstall mtbench.")
    tables = tomllib.loads(file.read_text(encoding="utf-8"))
    return {name: _layout(name, table) for name, table in tables.items()}


def _layout(name: str, table: dict[str, Any]) -> Layout:
    plain: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
    plain["lines"] = tuple(LayoutLine(**line) for line in table["lines"])
    return Layout(name, **plain)
