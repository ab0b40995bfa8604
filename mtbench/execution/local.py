"""Runs one after the other in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mtbench.errors import DataError, MtbenchError
from mtbench.execution.progress import Reporter
from mtbench.execution.work import Job
from mtbench.pipeline.runner import carry_out
from mtbench.records.files import write_record
from mtbench.storage.store import Store


def execute(
    jobs: list[Job], store: Store, results: Path, reporter: Reporter, until: str | None
) -> list[dict[str, Any]]:
    """The records of ``jobs`` in order. A failed run is reported and recorded, and the others go on.

    KeyboardInterrupt passes through, after the running record says so, and so does DataError: it ends all runs.
    """
    records = []
    for number, job in enumerate(jobs):
        reporter.run_started(job.label, number + 1, len(jobs))
        try:
            record = carry_out(
                job.plan,
                job.run_id,
                store,
                lambda r: write_record(results, r),
                until=until,
                listener=reporter.listener(job.label),
            )
        except DataError:
            raise  # the data are the same for all runs: one message
        except MtbenchError as error:
            reporter.run_failed(job.label, str(error))
            record = job.failed_record(error)
        else:
            reporter.run_finished(job.label, record)
        records.append(record)
    return records
