"""``--address ray://HOST:10001``: the driver itself runs on the cluster, this process shows its lines.

Ray's client forwards every call; a driver that schedules thousands of units should not be at the far end of it. So the
whole experiment is one task on the cluster, and the records come back at its end to be written here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mtbench.errors import MtbenchError, UsageError
from mtbench.execution.api import Prepared
from mtbench.execution.progress import Reporter
from mtbench.records.files import write_record

POLL = 1.0
"""Seconds between two looks at the far driver's lines."""


class FarReporter(Reporter):
    """Puts lines into a queue that the near process reads."""

    def __init__(self, queue: Any) -> None:
        super().__init__()
        self._queue = queue

    def line(self, text: str) -> None:
        self._queue.put(text)


def carry_out_far(
    prepared: Prepared, until: str | None, reporter: Reporter, options: dict[str, Any]
) -> list[dict[str, Any]]:
    """The records of all jobs; ``options`` are those of ``carry_out_with_ray``. Ray's client must be connected."""
    import ray
    from ray.util.queue import Queue

    waiting = [job for job in prepared.jobs if job.finished is None]
    texts = {job.run_id: job.plan.run.request.to_json() for job in waiting}
    queue = Queue(actor_options={"num_cpus": 0})
    task = ray.remote(num_cpus=0, max_retries=0)(_drive)
    future = task.remote(texts, str(prepared.store.root.resolve()), until, queue, options)
    try:
        while not ray.wait([future], timeout=POLL)[0]:
            _show(queue, reporter)
        _show(queue, reporter)
        computed = {record["run_id"]: record for record in ray.get(future)}
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, MtbenchError):
            raise error.cause from None
        raise
    except KeyboardInterrupt:
        ray.cancel(future)
        raise
    finally:
        queue.shutdown()
    for record in computed.values():
        write_record(prepared.results, record)
    return [job.finished or computed[job.run_id] for job in prepared.jobs]


def _show(queue: Any, reporter: Reporter) -> None:
    for text in queue.get_nowait_batch(queue.qsize()):
        reporter.line(text)


def _drive(
    texts: dict[str, str], store: str, until: str | None, queue: Any, options: dict[str, Any]
) -> list[dict[str, Any]]:
    """On the cluster: plan the requests (JSON by run id) again over the shared store and carry them out."""
    import shutil
    import uuid

    from mtbench.execution.ray.tune import carry_out_with_ray
    from mtbench.execution.work import make_jobs
    from mtbench.pipeline.request import Resolver, RunRequest
    from mtbench.registry import add_plugin_files
    from mtbench.storage.store import Store

    root = Path(store)
    results = root / "ray" / f"far-{uuid.uuid4().hex[:8]}"
    rows = [RunRequest.from_json(text) for text in texts.values()]
    add_plugin_files(sorted({plugin for row in rows for plugin in row.plugins}))
    try:
        jobs = make_jobs(rows, Resolver(root), results, "missing")
        if {job.run_id for job in jobs} != set(texts):
            raise UsageError(
                "the cluster has other code, suite data or encoders than this machine: it plans other runs\n"
                "  Give both the same mtbench and files, or start the command on the cluster."
            )
        return carry_out_with_ray(Prepared(jobs, Store(root), results), until, FarReporter(queue), **options)
    finally:
        shutil.rmtree(results, ignore_errors=True)
