"""``--address ray://HOST:10001``: the driver itself runs on the cluster, this process shows its lines.

Ray's client forwards every call; a driver that schedules thousands of units should not be at the far end of it. So the
whole experiment is one task on the cluster, and the records come back at its end to be written here.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

from mtbench.errors import MtbenchError, UsageError
from mtbench.execution.options import ExecutionOptions, PlanOptions
from mtbench.execution.planned import PlannedRuns, RunPlanner
from mtbench.execution.progress import Reporter
from mtbench.execution.ray.messages import Experiment
from mtbench.pipeline.request import RunRequest
from mtbench.records.files import write_record
from mtbench.records.record import RunRecord

if TYPE_CHECKING:
    from ray.util.queue import Queue

POLL = 1.0
"""Seconds between two looks at the far driver's lines."""


class FarReporter(Reporter):
    """Puts lines into a queue that the near process reads."""

    def __init__(self, queue: Queue) -> None:
        super().__init__()
        self._queue = queue

    def line(self, text: str) -> None:
        self._queue.put(text)


def run_on_cluster(planned: PlannedRuns, options: ExecutionOptions, reporter: Reporter) -> list[RunRecord]:
    """The records of the jobs that wait. Ray's client must be connected."""
    import ray
    from ray.util.queue import Queue

    experiment: Experiment = {
        "requests": {job.run_id: job.plan.run.request.to_json() for job in planned.waiting},
        "store": str(planned.store.root.resolve()),
        "until": planned.until,
        "execution": json.dumps(dataclasses.asdict(options)),
    }
    queue = Queue(actor_options={"num_cpus": 0})
    future = ray.remote(num_cpus=0, max_retries=0)(_drive).remote(experiment, queue)
    try:
        while not ray.wait([future], timeout=POLL)[0]:
            _show(queue, reporter)
        _show(queue, reporter)
        records: list[RunRecord] = ray.get(future)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, MtbenchError):
            raise error.cause from None
        raise
    except KeyboardInterrupt:
        ray.cancel(future)
        raise
    finally:
        queue.shutdown()
    for record in records:
        write_record(planned.results, record)
    return records


def _show(queue: Queue, reporter: Reporter) -> None:
    for text in queue.get_nowait_batch(queue.qsize()):
        reporter.line(text)


def _drive(experiment: Experiment, queue: Queue) -> list[RunRecord]:
    """On the cluster: plan the requests again over the shared store and run them."""
    from mtbench.execution.ray.connect import quiet_ray

    with quiet_ray():
        return _plan_and_run(experiment, queue)


def _plan_and_run(experiment: Experiment, queue: Queue) -> list[RunRecord]:
    import shutil
    import uuid

    from mtbench.execution.ray.experiment import run_experiment

    root = Path(experiment["store"])
    results = root / "ray" / f"far-{uuid.uuid4().hex[:8]}"
    requests = [RunRequest.from_json(text) for text in experiment["requests"].values()]
    options = PlanOptions(root, results, rerun="all", until=experiment["until"])
    planner = RunPlanner(options, sorted({plugin for request in requests for plugin in request.plugins}))
    try:
        planned = planner.planned([planner.plan(request) for request in requests])
        if {job.run_id for job in planned.jobs} != set(experiment["requests"]):
            raise UsageError(
                "the cluster has other code, suite data or encoders than this machine: it plans other runs\n"
                "  Give both the same mtbench and files, or start the command on the cluster."
            )
        here = dataclasses.replace(ExecutionOptions(**json.loads(experiment["execution"])), address=None)
        return run_experiment(planned, here, FarReporter(queue))
    finally:
        shutil.rmtree(results, ignore_errors=True)
