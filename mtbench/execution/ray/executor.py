"""``--executor ray``: jobs run by Ray Tune, on this machine or on a cluster."""

from __future__ import annotations

from mtbench.execution.executors import Executor
from mtbench.execution.options import ExecutionOptions
from mtbench.execution.planned import Job, PlannedRuns
from mtbench.execution.progress import Reporter
from mtbench.execution.ray.connect import join_cluster, quiet_ray, start_ray
from mtbench.records.record import RunRecord


class RayExecutor(Executor):
    """Runs side by side, as many as the cluster holds; shared stages are computed once and first."""

    def __init__(self, options: ExecutionOptions, reporter: Reporter) -> None:
        super().__init__(reporter)
        self.options = options

    def run_jobs(self, planned: PlannedRuns, jobs: list[Job]) -> list[RunRecord]:
        """See :class:`Executor`; UsageError if there is no cluster at the address, or it can never hold a run."""
        with quiet_ray():
            return self._run(planned)

    def _run(self, planned: PlannedRuns) -> list[RunRecord]:
        import ray

        if ray.is_initialized():
            return self._run_connected(planned)
        try:
            if self.options.address is None:
                start_ray()
            else:
                join_cluster(self.options.address)
            if self.options.address is not None and self.options.address.startswith("ray://"):
                from mtbench.execution.ray.client import run_on_cluster

                return run_on_cluster(planned, self.options, self.reporter)
            return self._run_connected(planned)
        finally:
            ray.shutdown()

    def _run_connected(self, planned: PlannedRuns) -> list[RunRecord]:
        from mtbench.execution.ray.experiment import run_experiment

        return run_experiment(planned, self.options, self.reporter)
