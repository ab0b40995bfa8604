"""Which executor carries out the jobs."""

from __future__ import annotations

from typing import Any

from mtbench.errors import UsageError
from mtbench.execution.api import Prepared, carry_out_jobs
from mtbench.execution.progress import Reporter
from mtbench.storage.mirror import offer_results

EXECUTORS = ("local", "ray")
MOST_GPUS = 1024
"""Of one run; only there to catch what was mistyped."""


def check_executor(
    name: str, address: str | None, gpus_per_run: float | None, max_concurrent: int | None = None
) -> None:
    """UsageError for an unknown executor, for Ray's options without Ray, or for what they cannot be."""
    if name not in EXECUTORS:
        raise UsageError(f"--executor {name!r}: choose {' or '.join(EXECUTORS)}")
    if name == "local" and (address is not None or gpus_per_run is not None):
        raise UsageError("--address and --gpus-per-run belong to --executor ray")
    if gpus_per_run is not None and not 0 <= gpus_per_run <= MOST_GPUS:
        raise UsageError(f"--gpus-per-run must be a number from 0 to {MOST_GPUS}, got {gpus_per_run}")
    if gpus_per_run is not None and gpus_per_run > 1 and gpus_per_run != int(gpus_per_run):
        raise UsageError(f"--gpus-per-run above 1 must be a whole number, got {gpus_per_run}")
    if max_concurrent is not None and max_concurrent < 1:
        raise UsageError(f"--max-concurrent must be at least 1, got {max_concurrent}")


def execute_with(
    executor: str,
    prepared: Prepared,
    until: str | None,
    reporter: Reporter,
    address: str | None = None,
    gpus_per_run: float | None = None,
    max_concurrent: int | None = None,
    scheduler: str = "none",
) -> list[dict[str, Any]]:
    """The records of all jobs, in order."""
    try:
        return _execute(executor, prepared, until, reporter, address, gpus_per_run, max_concurrent, scheduler)
    finally:
        offer_results(prepared.results)


def _execute(
    executor: str,
    prepared: Prepared,
    until: str | None,
    reporter: Reporter,
    address: str | None,
    gpus_per_run: float | None,
    max_concurrent: int | None,
    scheduler: str,
) -> list[dict[str, Any]]:
    if executor == "local":
        return carry_out_jobs(prepared, until, reporter)
    from mtbench.execution.ray.tune import carry_out_with_ray

    return carry_out_with_ray(prepared, until, reporter, address, gpus_per_run, max_concurrent, scheduler)
