"""What one run gets of a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mtbench.errors import UsageError
from mtbench.execution.options import ExecutionOptions


@dataclass(frozen=True)
class Share:
    """What one run gets: so many ranks (processes, one per GPU), each with so many CPUs and GPUs."""

    ranks: int
    cpus: float
    gpus: float

    def placement(self) -> dict[str, float]:
        """As Tune wants it: the whole run on one node."""
        return {"cpu": self.ranks * self.cpus, "gpu": self.ranks * self.gpus}


def share_of(cluster: Mapping[str, float], options: ExecutionOptions) -> tuple[Share, str]:
    """What each run gets of the cluster's resources, and the sentence that says so before the start.

    UsageError if the cluster can never hold a run.
    """
    cpus, all_gpus = int(cluster.get("CPU", 0)), cluster.get("GPU", 0.0)
    gpus = options.gpus_per_run if options.gpus_per_run is not None else (1.0 if all_gpus else 0.0)
    if gpus > all_gpus:
        raise UsageError(
            f"--gpus-per-run {gpus:g}: the cluster has {all_gpus:g} GPUs; give a fraction below 1 or a whole number"
        )
    ranks = max(1, int(gpus))
    each = max(1, int(cpus * gpus / all_gpus / ranks)) if gpus else 1
    at_once = int(min(cpus // (each * ranks), all_gpus / gpus if gpus else cpus))
    at_once = max(1, min(at_once, options.max_concurrent or at_once))
    text = f"{cpus} CPUs, {all_gpus:g} GPUs; {each * ranks} CPU and {gpus:g} GPU per run, {at_once} at a time"
    return Share(ranks, each, gpus / ranks), text
