"""A lease is held by one, taken over from the dead, and indifferent to clocks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mtbench.storage import lease as module
from mtbench.storage.lease import Lease


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEARTBEAT", 0.05)
    monkeypatch.setattr(module, "POLL", 0.02)


def foreign(path: Path, **more: object) -> None:
    """A lease of another machine that nobody renews."""
    path.write_text(json.dumps({"owner": "other", "counter": 7, "pid": 1, "machine": "elsewhere", **more}))


def never() -> bool:
    return False


def test_it_is_gone_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "stage.json"
    with Lease(path, never) as lease:
        assert lease.held and path.is_file()
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_on_the_way_in_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(thread: threading.Thread) -> None:
        assert (tmp_path / "stage.json").is_file()
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt), Lease(tmp_path / "stage.json", never):
        pytest.fail("it was never held")
    assert list(tmp_path.iterdir()) == []


def test_what_is_done_needs_no_lease(tmp_path: Path) -> None:
    with Lease(tmp_path / "stage.json", lambda: True) as lease:
        assert not lease.held
    assert list(tmp_path.iterdir()) == []


def test_a_living_holder_is_waited_for(tmp_path: Path) -> None:
    """Much longer than the time after which a dead one is replaced."""
    path, finished, got = tmp_path / "stage.json", threading.Event(), threading.Event()

    def wait() -> None:
        with Lease(path, finished.is_set, stale_after=0.3) as second:
            assert not second.held
            got.set()

    with Lease(path, never):
        waiter = threading.Thread(target=wait)
        waiter.start()
        assert not got.wait(1.2)
        finished.set()
        assert got.wait(10)
    waiter.join()


def test_a_silent_holder_elsewhere_is_replaced_after_the_stated_time(tmp_path: Path) -> None:
    path = tmp_path / "stage.json"
    foreign(path)
    began = time.monotonic()
    with Lease(path, never, stale_after=0.5) as lease:
        assert lease.held
        assert time.monotonic() - began >= 0.5
        assert json.loads(path.read_text())["owner"] != "other"


@pytest.mark.parametrize("offset", [-3600, 3600])
def test_clocks_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offset: int) -> None:
    """A holder whose clock (and whose file times) are an hour off is neither replaced early nor kept for ever."""
    path, stop = tmp_path / "stage.json", threading.Event()
    monkeypatch.setattr(time, "time", lambda: 1e9)

    def beat() -> None:
        counter = 0
        while not stop.wait(0.05):
            counter += 1
            beside = path.with_suffix(".new")
            foreign(beside, counter=counter)
            os.utime(beside, (2e9 + offset, 2e9 + offset))
            os.replace(beside, path)

    foreign(path)
    holder = threading.Thread(target=beat)
    holder.start()
    try:
        began = time.monotonic()
        with Lease(path, lambda: time.monotonic() - began > 1.5, stale_after=0.6) as lease:
            assert not lease.held
    finally:
        stop.set()
        holder.join()
    with Lease(path, never, stale_after=0.6) as lease:
        assert lease.held


def test_a_dead_process_on_this_machine_is_replaced_at_once(tmp_path: Path) -> None:
    path = tmp_path / "stage.json"
    code = (
        "import sys, os, pathlib; from mtbench.storage.lease import Lease\n"
        "Lease(pathlib.Path(sys.argv[1]), lambda: False).__enter__(); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -9 and path.is_file()
    with Lease(path, never, stale_after=3600) as lease:
        assert lease.held


def test_of_many_waiters_one_takes_over(tmp_path: Path) -> None:
    path = tmp_path / "stage.json"
    foreign(path)
    inside, most, turns = 0, 0, 0
    guard = threading.Lock()

    def work() -> None:
        nonlocal inside, most, turns
        with Lease(path, never, stale_after=0.4) as lease:
            assert lease.held
            with guard:
                inside += 1
                turns += 1
                most = max(most, inside)
            time.sleep(0.1)
            with guard:
                inside -= 1

    workers = [threading.Thread(target=work) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert (most, turns) == (1, 6)


def test_a_damaged_lease_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "stage.json"
    path.write_text("{half")
    with Lease(path, never, stale_after=0.3) as lease:
        assert lease.held


def test_a_lost_lease_is_not_taken_from_its_new_holder(tmp_path: Path) -> None:
    path = tmp_path / "stage.json"
    with Lease(path, never):
        foreign(path)
    assert json.loads(path.read_text())["owner"] == "other"
