"""One tiny sweep done locally, and one Ray (two raylets on this machine), for all tests of this folder."""

from __future__ import annotations

import os

os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # else the first start writes a token into the home folder
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from execution_cases import GRID, Local, tiny_sweep

from mtbench.execution.executors import LocalExecutor
from mtbench.execution.options import PlanOptions
from mtbench.execution.progress import Reporter
from mtbench.execution.sweeping import run_sweep


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory) -> Local:
    """Two tau by two beta, run one after the other in this process."""
    home = tmp_path_factory.mktemp("local")
    sweep = run_sweep(
        tiny_sweep(*GRID),
        PlanOptions(home / "store", home / "results"),
        LocalExecutor(Reporter(quiet=True)),
    )
    return Local(sweep, home / "store", home / "results")


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store for planning alone: it gets the generated text of the suite once, and never a stage."""
    return tmp_path_factory.mktemp("planning") / "store"


@pytest.fixture(scope="session")
def two_nodes() -> Iterator[None]:
    """A Ray of two nodes with one processor each, both on this machine."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own, while it starts
        import ray
        from ray.cluster_utils import Cluster

        node = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=node)
        cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20)
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()
    cluster.shutdown()
