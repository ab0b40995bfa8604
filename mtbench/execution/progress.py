"""Who is told what happens: a live line on a terminal, plain lines elsewhere, nothing with ``--json`` on output.

All of it goes to standard error.
"""

from __future__ import annotations

import sys
import time
from typing import TypedDict

from mtbench.pipeline.plan import Stage
from mtbench.records.record import RunRecord, average, served_tasks

PLAIN_EVERY = 15.0
"""Seconds between two plain progress lines."""


class StageReport(TypedDict, total=False):
    """How a stage goes on elsewhere: ``step`` of ``total``, mean ``loss``, seconds ``left``; or that it is finished."""

    stage: str
    step: int
    total: int | None
    loss: float | None
    left: float | None
    finished: bool
    reused: bool
    seconds: float


class Reporter:
    """Plain lines; the base of the live one."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self._shown: dict[int, float] = {}

    def line(self, text: str) -> None:
        """Print one line."""
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)

    def run_started(self, label: str, number: int, total: int) -> None:
        """Run ``number`` of ``total`` begins."""
        self.line(f"[{number}/{total}] {label}")

    def run_finished(self, label: str, record: RunRecord) -> None:
        """A run is complete."""
        value, served = record.get("average"), served_tasks(record["spec"])
        if served is not None:
            value = average(record["tasks"], served, record.get("metric", ""))
        score = f"{100 * value:.2f} {record['metric']}" if value is not None else record["status"]
        self.line(f"      {label}: {score} ({record['cost'].get('computed_seconds', 0):.0f} s computed)")

    def run_failed(self, label: str, message: str) -> None:
        """A run failed; the others go on."""
        self.line(f"      {label}: FAILED: {message}")

    def listener(self, label: str) -> StageLines:
        """The listener of one run's stages."""
        return StageLines(self)

    def advance(self, number: int, label: str, report: StageReport) -> None:
        """Unit ``number`` of several at the same time reports."""
        now = time.monotonic()
        if report.get("finished"):
            if not report["reused"]:
                self.line(f"      {label}: {report['stage']} done in {report['seconds']:.1f} s")
        elif report.get("step") and now - self._shown.get(number, 0.0) >= PLAIN_EVERY:
            self._shown[number] = now
            stage, step, loss, left = cells(report)
            parts = [f"{stage} {step}", loss and f"loss {loss}", left and f"{left} left"]
            self.line(f"      {label}: {', '.join(p for p in parts if p)}")

    def gone(self, number: int) -> None:
        """Unit ``number`` has ended."""
        self._shown.pop(number, None)

    def close(self) -> None:
        """End any live display."""


class StageLines:
    """Tells a reporter about stages; estimates the time left from the rate so far."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._began = self._last = 0.0

    def stage_started(self, stage: Stage) -> None:
        """Remember when."""
        self._began = self._last = time.monotonic()

    def stage_advanced(self, stage: Stage, done: int, total: int | None, losses: dict[str, float]) -> None:
        """A line now and then."""
        now = time.monotonic()
        if now - self._last >= PLAIN_EVERY:
            self._last = now
            self._reporter.line("      " + describe(stage, done, total, losses, now - self._began))

    def stage_finished(self, stage: Stage, reused: bool, seconds: float) -> None:
        """One line per stage."""
        self._reporter.line(f"      {stage.label}: {'reused' if reused else f'done in {seconds:.1f} s'}")


class LiveReporter(Reporter):
    """One live line (or, of units side by side, one table) at the bottom of a terminal, what is finished above it."""

    def __init__(self) -> None:
        super().__init__()
        from rich.console import Console
        from rich.live import Live

        self._console = Console(stderr=True, highlight=False)
        self._live = Live(console=self._console, refresh_per_second=4, transient=True)
        self._live.start()
        self._rows: dict[int, tuple[str, list[str]]] = {}

    def advance(self, number: int, label: str, report: StageReport) -> None:
        if report.get("finished"):
            super().advance(number, label, report)
            report = {"stage": report["stage"]}
        self._rows[number] = (label, cells(report))
        self._show_table()

    def gone(self, number: int) -> None:
        self._rows.pop(number, None)
        self._show_table()

    def _show_table(self) -> None:
        from rich.table import Table

        table = Table()
        for name in ("run", "stage", "step", "loss", "left"):
            table.add_column(name, no_wrap=True, justify="left" if name in ("run", "stage") else "right")
        for label, row in self._rows.values():
            table.add_row(label, *row)
        self._live.update(table if self._rows else "")

    def line(self, text: str) -> None:
        self._console.print(text, markup=False)

    def show(self, text: str) -> None:
        """Replace the live line."""
        self._live.update(text)

    def listener(self, label: str) -> StageLines:
        return _LiveLines(self)

    def close(self) -> None:
        self._live.stop()


class _LiveLines(StageLines):
    def __init__(self, reporter: LiveReporter) -> None:
        super().__init__(reporter)
        self._live = reporter

    def stage_advanced(self, stage: Stage, done: int, total: int | None, losses: dict[str, float]) -> None:
        now = time.monotonic()
        if now - self._last >= 0.2 or done == total:
            self._last = now
            self._live.show("      " + describe(stage, done, total, losses, now - self._began))

    def stage_finished(self, stage: Stage, reused: bool, seconds: float) -> None:
        self._live.show("")
        super().stage_finished(stage, reused, seconds)


def make_reporter(quiet: bool = False) -> Reporter:
    """Live on a terminal, plain lines elsewhere."""
    return LiveReporter() if sys.stderr.isatty() and not quiet else Reporter(quiet)


def describe(stage: Stage, done: int, total: int | None, losses: dict[str, float], seconds: float) -> str:
    """``train 2: 120/200, 14 s left, loss nq 0.31 ...``."""
    text = f"{stage.label}: {done:,}" + (f"/{total:,}" if total else "")
    if total and done:
        text += f", {clock(seconds / done * (total - done))} left"
    if losses:
        text += ", loss " + " ".join(f"{name} {value:.2f}" for name, value in losses.items())
    return text


def cells(report: StageReport) -> list[str]:
    """Stage, step, loss and time left as texts, empty where unknown."""
    done, total, loss, left = report.get("step"), report.get("total"), report.get("loss"), report.get("left")
    step = "" if not done else f"{done:,}/{total:,}" if total else f"{done:,}"
    return [report["stage"], step, "" if loss is None else f"{loss:.3f}", "" if left is None else clock(left)]


def clock(seconds: float) -> str:
    """``45 s``, ``12 min``, ``3.4 h``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
