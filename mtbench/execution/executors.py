"""Executors: objects that run what has been planned. This process is one, Ray (``execution/ray/``) the other."""

from __future__ import annotations

import abc

from mtbench.computing import caller_as_it_was
from mtbench.execution.planned import Job, PlannedRuns
from mtbench.execution.progress import Reporter
from mtbench.pipeline.freeing import FreeingListener, Readers
from mtbench.pipeline.runner import run_plan
from mtbench.records.record import RunRecord
from mtbench.storage.mirror import offer_results


class Executor(abc.ABC):
    """Runs planned jobs and tells a reporter about it."""

    def __init__(self, reporter: Reporter) -> None:
        self.reporter = reporter

    def run(self, planned: PlannedRuns) -> list[RunRecord]:
        """The records of all jobs, in order: those that stand already, and those computed now.

        A run that fails is reported and recorded, and the others go on. KeyboardInterrupt passes through, after the
        records say so. A mistake of usage, configuration or data ends all runs and leaves no record.
        """
        try:
            with caller_as_it_was():
                return planned.in_order(self.run_jobs(planned, planned.waiting) if planned.waiting else [])
        finally:
            offer_results(planned.results)

    @abc.abstractmethod
    def run_jobs(self, planned: PlannedRuns, jobs: list[Job]) -> list[RunRecord]:
        """The records of ``jobs`` (not empty), written among the results of ``planned``."""


class LocalExecutor(Executor):
    """One run after the other in this process."""

    def run_jobs(self, planned: PlannedRuns, jobs: list[Job]) -> list[RunRecord]:
        records, readers = [], Readers([job.plan for job in jobs], planned.store)
        for number, job in enumerate(jobs, start=1):
            self.reporter.run_started(job.label, number, len(jobs))
            records.append(self._run_job(planned, job, readers))
        return records

    def _run_job(self, planned: PlannedRuns, job: Job, readers: Readers) -> RunRecord:
        listener = FreeingListener(self.reporter.listener(job.label), readers)
        record, error = run_plan(job.plan, planned.store, planned.results, until=planned.until, listener=listener)
        if error is not None:
            self.reporter.run_failed(job.label, str(error))
        else:
            self.reporter.run_finished(job.label, record)
        return record
