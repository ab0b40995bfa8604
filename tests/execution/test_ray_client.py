"""From outside a cluster: ``--address ray://HOST:PORT``, and workers that are not like the machine that planned."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from execution_cases import Local, outcome, records_in, tiny_matrix

from mtbench.errors import UsageError
from mtbench.execution.options import PlanOptions
from mtbench.execution.planned import plan_runs
from mtbench.execution.ray import connect as ray_connect
from mtbench.execution.ray.messages import UnitConfig, UnitReport
from mtbench.execution.ray.worker import run_unit

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[str]:
    """The address of a Ray head of its own, with the server of Ray's client."""
    pytest.importorskip("grpc", reason="Ray's client is not installed: pip install 'ray[client]'")
    port = free_port()
    options = {"port": free_port(), "ray-client-server-port": port, "num-cpus": 2, "include-dashboard": "false"}
    options |= {"min-worker-port": 0, "max-worker-port": 0, "object-store-memory": 100 * 2**20}
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats"]
    command += [f"--{name}={value}" for name, value in options.items()]
    with (tmp_path / "ray.log").open("wb") as log:
        head = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while not listens(port):
            if head.poll() is not None or time.monotonic() > deadline:
                pytest.fail((tmp_path / "ray.log").read_text())
            time.sleep(0.2)
        yield f"ray://127.0.0.1:{port}"
    finally:
        head.terminate()
        head.wait(30)


def test_the_whole_experiment_runs_on_the_cluster(local: Local, cluster: str, tmp_path: Path) -> None:
    setting = local.sweep.settings[0]
    params = [f"{name}={value}" for name, value in setting.values.items()]
    matrix = tiny_matrix()
    arguments = ["run", "--optimizer", "tsage", "--suite", matrix.suite, "--limit", str(matrix.limit)]
    arguments += [item for text in [*matrix.assignments, *params] for item in ("--set", text)]
    arguments += ["--executor", "ray", "--address", cluster]
    arguments += ["--store", str(tmp_path / "store"), "--results", str(tmp_path / "results")]
    command = [sys.executable, "-m", "mtbench", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    written = records_in(tmp_path / "results")
    assert outcome(written[setting.jobs[0].run_id]) == outcome(setting.records[0])
    assert "seed 0: train 2 done" in done.stderr  # the far driver's lines are shown here


def init_that_fails(monkeypatch: pytest.MonkeyPatch, errors: list[Exception]) -> list[str]:
    """``ray.init`` raises these, one a call, and then works; returns the addresses that it is asked for."""
    import ray

    asked: list[str] = []

    def init(address: str, **options: Any) -> None:
        asked.append(address)
        if errors:
            raise errors.pop(0)

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(ray_connect, "PAUSE", 0.0)
    monkeypatch.setattr(ray_connect.importlib.util, "find_spec", lambda name: True)
    return asked


def test_a_server_that_dies_in_its_fork_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = ConnectionAbortedError("Initialization failure from server: RuntimeError: Starting Ray client server failed")
    asked = init_that_fails(monkeypatch, [lost, lost])
    ray_connect.join_cluster("ray://here:1")
    assert asked == ["ray://here:1"] * 3
    watched = ConnectionAbortedError(
        "Initialization failure from server:\nTraceback (most recent call last):\n"
        '  File "proxier.py", line 765, in Datapath\n    if not self.proxy_manager.start_specific_server(\n'
        "psutil.NoSuchProcess: process no longer exists (pid=7)\n"
    )
    asked = init_that_fails(monkeypatch, [watched])
    ray_connect.join_cluster("ray://here:1")
    assert asked == ["ray://here:1"] * 2
    init_that_fails(monkeypatch, [watched] * 100)
    with pytest.raises(UsageError, match=r"at --address ray://here:1: psutil.NoSuchProcess: process no longer"):
        ray_connect.join_cluster("ray://here:1")
    asked = init_that_fails(monkeypatch, [lost] * 100)
    with pytest.raises(UsageError, match=r"no Ray cluster at --address ray://here:1.*server failed"):
        ray_connect.join_cluster("ray://here:1")
    assert len(asked) == ray_connect.TRIES


def test_an_address_where_nothing_answers_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = init_that_fails(monkeypatch, [ConnectionError("nobody there")])
    with pytest.raises(UsageError, match=r"nobody there\n.*ray start --head"):
        ray_connect.join_cluster("here:1")
    assert len(asked) == 1


@pytest.mark.parametrize("what", ["run_id", "stages"])
def test_a_worker_that_understands_the_request_differently_says_so(
    local: Local, empty_store: Path, tmp_path: Path, what: str
) -> None:
    [job] = plan_runs(tiny_matrix(("naive",)), PlanOptions(empty_store, tmp_path / "results")).jobs
    config: UnitConfig = {
        "unit": 0,
        "request": job.plan.run.request.to_json(),
        "stages": ["0" * 64] if what == "stages" else [],
        "run_id": "another-run" if what == "run_id" else job.run_id,
        "until": None,
        "store": str(empty_store),
        "records": str(tmp_path / "records"),
        "ranks": 1,
    }
    reports: list[UnitReport] = []
    run_unit(config, reports.append)
    [report] = reports
    assert report["failed"]["type"] == "ConfigError"
    assert "this worker has other code" in report["failed"]["message"]
    assert not (empty_store / "stages").exists()
