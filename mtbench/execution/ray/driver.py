"""The driver's side of an experiment: which unit starts next, what is shown, and which record is written.

It remembers nothing that matters: the graph of units is made from the store at every call, and the results are records.
"""

from __future__ import annotations

import time
import uuid

from mtbench.errors import ConfigError, MtbenchError, mistake_of
from mtbench.execution.options import ExecutionOptions
from mtbench.execution.planned import Job, PlannedRuns
from mtbench.execution.progress import Reporter
from mtbench.execution.ray.messages import UnitConfig, UnitReport
from mtbench.execution.ray.selection import no_score
from mtbench.execution.ray.share import Share
from mtbench.execution.schedule import Unit, UnitQueue, make_units
from mtbench.pipeline.assemble import begin
from mtbench.pipeline.freeing import Readers
from mtbench.records.files import as_stored, write_record
from mtbench.records.record import ErrorInfo, RunRecord


class Driver:
    """One experiment: units out, records in."""

    def __init__(self, planned: PlannedRuns, options: ExecutionOptions, share: Share, reporter: Reporter) -> None:
        self.planned, self.options, self.share, self.reporter = planned, options, share, reporter
        self.jobs = planned.waiting
        self.queue = UnitQueue(make_units(self.jobs, planned.store, planned.until), options.max_concurrent)
        self.name = f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"
        self.store = planned.store.root.resolve()
        self.outbox = self.store / "ray" / f"{self.name}-records"
        """Where workers leave records."""
        self.records: dict[str, RunRecord] = {}
        self.refusal: MtbenchError | None = None
        """A mistake that a worker met, or why the scheduler cannot work: no unit starts any more."""
        self._errors: dict[int, ErrorInfo] = {}
        self._readers = Readers([job.plan for job in self.jobs], planned.store)

    def next_config(self) -> UnitConfig | None:
        """What the next worker gets; None if no unit can start now."""
        unit = self.queue.start() if self.refusal is None else None
        if unit is None:
            return None
        return {
            "unit": unit.number,
            "request": unit.job.plan.run.request.to_json(),
            "stages": [stage.key for stage in unit.stages],
            "run_id": unit.job.run_id,
            "until": self.planned.until,
            "store": str(self.store),
            "records": str(self.outbox),
            "ranks": self.share.ranks,
        }

    @property
    def exhausted(self) -> bool:
        """Whether no unit will start any more."""
        return self.refusal is not None or self.queue.exhausted

    def started(self, unit: Unit) -> None:
        """A worker has begun (or begun again)."""
        if unit.is_run:
            total = len(self.jobs)
            self.reporter.run_started(unit.label, min(len(self.records) + 1, total), total)
        self.reporter.advance(unit.number, unit.label, {"stage": "starting"})

    def advanced(self, unit: Unit, report: UnitReport) -> None:
        """A worker reports."""
        if report.get("failed"):
            self._errors[unit.number] = report["failed"]
            self.refusal = self.refusal or mistake_of(report["failed"]["type"], report["failed"]["message"])
        elif report.get("stage"):
            self.reporter.advance(unit.number, unit.label, report)
        if report.get("unscored") and self.options.scheduler != "none":
            self.refusal = ConfigError(no_score(unit.job.plan.run.suite.metric, report["unscored"]))

    def ended(self, unit: Unit, error: ErrorInfo | None) -> None:
        """A unit is done, or failed for good: its record is written, and those of runs that cannot start now."""
        self.reporter.gone(unit.number)
        if self.refusal is not None:
            return  # what was under way is interrupted
        error = error or self._errors.get(unit.number)
        lost = self.queue.finish(unit.number, error is not None)
        self._readers.free_all()
        if unit.is_run:
            self._take_record(unit, error)
        elif error is not None:
            self.reporter.run_failed(unit.label, error["message"])
        for other in lost:
            if other.is_run:
                self._take_record(other, error)

    def _take_record(self, unit: Unit, error: ErrorInfo | None) -> None:
        record = self._left_by_worker(unit.job)
        if error is not None and record["status"] != "complete":
            failure = record["error"] or error
            record["status"], record["error"] = "failed", failure
            self.reporter.run_failed(unit.label, failure["message"])
        elif record["status"] == "running":
            message = "stopped by the scheduler: others were ahead on the slice of train"
            record["status"] = "interrupted"
            record["error"] = {"type": "Stopped", "message": message, "traceback": []}
            self.reporter.line(f"      {unit.label}: {message}")
        else:
            self.reporter.run_finished(unit.label, record)
        self.records[unit.job.run_id] = as_stored(self.planned.results, record)
        write_record(self.planned.results, record)

    def _left_by_worker(self, job: Job) -> RunRecord:
        return job.record_in(self.outbox) or begin(job.plan)

    def interrupted(self) -> None:
        """Say so in the records of the runs that were under way."""
        for job in self.jobs:
            record = job.record_in(self.outbox) if job.run_id not in self.records else None
            if record is not None:
                record["status"] = "interrupted"
                write_record(self.planned.results, record)
