"""``--executor ray``: jobs carried out by Ray Tune, on this machine or on a cluster."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import Any

from mtbench.errors import UsageError
from mtbench.execution.api import Prepared
from mtbench.execution.progress import Reporter
from mtbench.execution.ray.connect import join_cluster

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
"""No telemetry, no tables of Ray's own; read when Ray is imported."""

OBJECT_STORE = 150 * 2**20
"""Bytes of shared memory for a local Ray: only plain values cross it."""


def carry_out_with_ray(
    prepared: Prepared,
    until: str | None,
    reporter: Reporter,
    address: str | None = None,
    gpus_per_run: float | None = None,
    max_concurrent: int | None = None,
    scheduler: str = "none",
) -> list[dict[str, Any]]:
    """The records of all jobs, in order; shared stages are computed once and first.

    ``address``: None for a local Ray, ``auto`` for the cluster this machine belongs to, an address, or
    ``ray://HOST:PORT`` from outside. UsageError if there is no cluster or it can never hold a run; KeyboardInterrupt,
    with the records saying so, on Ctrl-C.
    """
    if all(job.finished for job in prepared.jobs):
        return [job.finished for job in prepared.jobs if job.finished]
    os.environ.update({key: os.environ.get(key, value) for key, value in QUIET.items()})
    import ray

    from mtbench.execution.ray.driver import Driver, make_scheduler, run_experiment

    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    ours = not ray.is_initialized()
    try:
        if ours:
            _connect(address)
        if ours and address is not None and address.startswith("ray://"):
            from mtbench.execution.ray.client import carry_out_far

            options = {"gpus_per_run": gpus_per_run, "max_concurrent": max_concurrent, "scheduler": scheduler}
            return carry_out_far(prepared, until, reporter, options)
        share, text = share_of(ray.cluster_resources(), gpus_per_run, max_concurrent)
        reporter.line(f"Ray{'' if address is None else ' at ' + address}: {text}")
        driver = Driver(prepared, until, reporter, max_concurrent, share)
        run_experiment(driver, share.placement(), make_scheduler(scheduler, prepared))
        return driver.in_order()
    finally:
        if ours:
            ray.shutdown()


def _connect(address: str | None) -> None:
    import ray

    if address is not None:
        join_cluster(address)
        return
    # "local" also where RAY_ADDRESS is set: only --address joins a cluster
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    ray.init(address="local", include_dashboard=False, object_store_memory=OBJECT_STORE, **quiet)


@dataclass(frozen=True)
class Share:
    """What one run gets: so many ranks (processes, one per GPU), each with so many CPUs and GPUs."""

    ranks: int
    cpus: float
    gpus: float

    def placement(self) -> dict[str, float]:
        """As Tune wants it: the whole run on one node."""
        return {"cpu": self.ranks * self.cpus, "gpu": self.ranks * self.gpus}


def share_of(cluster: dict[str, float], gpus_per_run: float | None, max_concurrent: int | None) -> tuple[Share, str]:
    """What each run gets of the cluster's resources, and the sentence that says so before the start."""
    cpus, all_gpus = int(cluster.get("CPU", 0)), cluster.get("GPU", 0.0)
    gpus = gpus_per_run if gpus_per_run is not None else (1.0 if all_gpus else 0.0)
    if gpus < 0 or gpus > all_gpus or (gpus > 1 and gpus != int(gpus)):
        raise UsageError(
            f"--gpus-per-run {gpus:g}: the cluster has {all_gpus:g} GPUs; give a fraction below 1 or a whole number"
        )
    ranks = max(1, int(gpus))
    each = max(1, int(cpus * gpus / all_gpus / ranks)) if gpus else 1
    at_once = int(min(cpus // (each * ranks), all_gpus / gpus if gpus else cpus))
    at_once = max(1, min(at_once, max_concurrent or at_once))
    text = f"{cpus} CPUs, {all_gpus:g} GPUs; {each * ranks} CPU and {gpus:g} GPU per run, {at_once} at a time"
    return Share(ranks, each, gpus / ranks), text
