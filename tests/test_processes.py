"""Worker processes: what they start with, what they leave behind, how many there are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from mtbench.processes import ProcessPool, processors

SCRIPT = """
import os, sys, time
from mtbench.processes import ProcessPool
print("begun", flush=True)
pool = ProcessPool(2)
print(*{pool.submit(os.getpid).result() for _ in range(8)}, flush=True)
if sys.argv[1:] == ["hang"]:
    time.sleep(600)
pool.close()
"""


def test_a_script_without_a_guard_begins_once(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout.split("\n")[0] == "begun" and done.stdout.count("begun") == 1


def test_workers_end_with_a_killed_caller(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "script.py", "hang"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as caller:
        assert caller.stdout is not None
        assert caller.stdout.readline() == "begun\n"
        workers = [int(number) for number in caller.stdout.readline().split()]
        assert workers and all(map(alive, workers))
        caller.send_signal(signal.SIGKILL)
    until = time.monotonic() + 20
    while any(map(alive, workers)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(map(alive, workers))


def alive(process: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False


def test_closing_cancels_what_has_not_begun() -> None:
    with ProcessPool(1) as pool:
        futures = [pool.submit(time.sleep, 0.2) for _ in range(50)]
        futures[0].result()
        begun = time.monotonic()
    assert time.monotonic() - begun < 5
    with pytest.raises(CancelledError):
        futures[-1].result()


def test_an_error_ends_what_is_under_way() -> None:
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt), ProcessPool(1) as pool:
        pool.submit(os.getpid).result()
        for _ in range(3):
            pool.submit(time.sleep, 60)
        raise KeyboardInterrupt
    assert time.monotonic() - begun < 20


def _environment(name: str, value: str) -> None:
    os.environ[name] = value


def test_workers_are_prepared() -> None:
    with ProcessPool(1, _environment, "MTBENCH_TEST", "ready") as pool:
        assert pool.submit(os.getenv, "MTBENCH_TEST").result() == "ready"
    assert "MTBENCH_TEST" not in os.environ


@pytest.mark.parametrize(("asked", "most"), [("1", 1), ("2,4", 2), ("0", None), ("", None), ("many", None)])
def test_processors_are_those_allotted(asked: str, most: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    available = len(os.sched_getaffinity(0))
    assert 1 <= processors() <= min(available, most or available)


def test_torchruns_default_does_not_count_as_an_allotment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    alone = processors()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as torchrun sets it for every rank
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert processors() == alone
