"""One run on two ranks of this machine, and one that loses a rank."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from tiny_suite import SETTINGS, write_suite

import mtbench
from mtbench.execution.ray.ranks import run_with_ranks


def run(folder: Path, name: str) -> dict[str, Any]:
    places = {"store": folder / name, "results": folder / f"{name}-results", "baselines": ()}
    [record] = mtbench.run("tsage", str(folder / "tiny"), set=list(SETTINGS), **places)
    return record


def test_two_ranks_make_the_record_of_one(tmp_path: Path) -> None:
    write_suite(tmp_path / "tiny")
    two, one = run_with_ranks(lambda: run(tmp_path, "two"), 2), run(tmp_path, "one")
    assert two["status"] == "complete" and two["run_id"] == one["run_id"]
    assert [s["fingerprint"] for s in two["stages"]] == [s["fingerprint"] for s in one["stages"]]
    last, alone = (r["training"]["episodes"][-1] for r in (two, one))
    assert last["losses"]["ask"] == pytest.approx(alone["losses"]["ask"], rel=1e-4)
    shares = last["summary"]["optimizer_state_bytes"], alone["summary"]["optimizer_state_bytes"]
    assert last["summary"]["ranks"] == 2 and abs(shares[0] - shares[1] / 2) < 64
    assert "WORLD_SIZE" not in os.environ


def test_a_killed_rank_ends_the_run_and_the_next_attempt_goes_on(tmp_path: Path) -> None:
    write_suite(tmp_path / "tiny")
    killer = threading.Thread(target=kill_follower, args=(tmp_path / "lost",))
    killer.start()
    record = run_with_ranks(lambda: run(tmp_path, "lost"), 2)
    killer.join()
    assert record["status"] == "failed" and record["error"]["type"] == "RanksLostError"
    assert record["error"]["message"].startswith("rank 1 failed in warmup 0")


def kill_follower(store: Path) -> None:
    """Kill the child that helps this process, as soon as the warm-up has a checkpoint."""
    while not list(store.glob("work/warmup-*/checkpoint")):
        time.sleep(0.02)
    children = [int(p) for p in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
    names = {p: Path(f"/proc/{p}/cmdline").read_bytes() for p in children}
    [follower] = [p for p, name in names.items() if b"mtbench.pipeline.follower" in name]
    os.kill(follower, signal.SIGKILL)
