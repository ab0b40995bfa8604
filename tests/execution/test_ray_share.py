"""What one run gets of a cluster."""

from __future__ import annotations

import pytest

from mtbench.errors import UsageError
from mtbench.execution.options import ExecutionOptions
from mtbench.execution.ray.share import Share, share_of


def test_what_each_run_gets() -> None:
    def share(cluster: dict[str, float], gpus: float | None = None, at_once: int | None = None) -> tuple[Share, str]:
        return share_of(cluster, ExecutionOptions("ray", gpus_per_run=gpus, max_concurrent=at_once))

    eight = {"CPU": 64.0, "GPU": 8.0}
    assert share(eight)[0] == Share(1, 8, 1)
    assert share(eight, 0.25) == (
        Share(1, 2, 0.25),
        "64 CPUs, 8 GPUs; 2 CPU and 0.25 GPU per run, 32 at a time",
    )
    four, text = share(eight, 4)
    assert four == Share(4, 8, 1) and text.endswith("32 CPU and 4 GPU per run, 2 at a time")
    assert four.placement() == {"cpu": 32, "gpu": 4}
    assert share({"CPU": 2.0}, None, 1)[1].endswith("1 at a time")
    with pytest.raises(UsageError, match="the cluster has 0 GPUs"):
        share({"CPU": 2.0}, 1)
