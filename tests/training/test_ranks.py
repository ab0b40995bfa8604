"""Two processes train as one: with gloo on the CPU, in float64, for every optimizer."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training import rank_worker
from training.rank_worker import OPTIMIZERS, STEPS_OF_THEIR_OWN

from mtbench.model.flat import FlatParameters
from mtbench.training.ranks import Ranks
from mtbench.training.sharding import Shard


def start_ranks(script: list[str], count: int = 2, **env: str) -> list[subprocess.Popen[str]]:
    """``count`` processes of one group."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {**os.environ, "WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), **env}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return [
        subprocess.Popen([sys.executable, *script], env={**common, "RANK": str(r), "LOCAL_RANK": str(r)}, **pipes)
        for r in range(count)
    ]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict[str, Any]]]:
    """The folder of what two processes left, and what one process gets with the whole batch."""
    folder = tmp_path_factory.mktemp("ranks")
    processes = start_ranks([str(Path(rank_worker.__file__)), str(folder)])
    try:
        alone = {
            case: rank_worker.result(folder / "alone", Ranks(), name, **train)
            for case, (name, train) in rank_worker.cases().items()
        }
        for process in processes:
            _, errors = process.communicate(timeout=600)
            assert process.returncode == 0, errors
        for name in ("tsage", "gradnorm", "moco"):
            alone[f"{name}-alone"] = rank_worker.result(folder / f"{name}-alone", Ranks(), name, steps=10)
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    return folder, alone


def left(folder: Path, name: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
    return value


def assert_equal(two: dict[str, Any], one: dict[str, Any]) -> None:
    assert np.allclose(two["losses"], one["losses"], rtol=1e-6, atol=0)
    theta, expected = np.array(two["theta"]), np.array(one["theta"])
    assert np.linalg.norm(theta - expected) <= 1e-6 * np.linalg.norm(expected)
    assert np.abs(theta - expected).max() <= 1e-6 * np.abs(expected).max()
    for found, wanted in zip(two["curves"], one["curves"], strict=True):
        assert set(found) == set(wanted)
        for key, numbers in wanted.items():
            here = found[key]
            if isinstance(numbers, dict):
                here, numbers = [here[n] for n in numbers], list(numbers.values())
            here, numbers = (
                np.array(here, dtype=float),
                np.array(numbers, dtype=float),
            )  # None: no such task in the step
            assert np.allclose(here, numbers, rtol=1e-5, atol=2e-4 if key == "cosines" else 1e-9, equal_nan=True), key


@pytest.mark.parametrize("sharded", ["sharded", "whole"])
@pytest.mark.parametrize("case", [*OPTIMIZERS, "uneven", "own", "clip", *STEPS_OF_THEIR_OWN])
def test_two_processes_equal_one(case: str, sharded: str, runs: tuple[Path, dict[str, dict[str, Any]]]) -> None:
    folder, alone = runs
    two = left(folder, f"{case}-{sharded}")
    assert two["ranks"] == 2 and two["sharded"] is (sharded == "sharded")
    assert_equal(two, alone[case])


def test_each_rank_keeps_its_share_of_the_state(runs: tuple[Path, dict[str, dict[str, Any]]]) -> None:
    folder, alone = runs
    one, whole, sharded = alone["tsage"], left(folder, "tsage-whole"), left(folder, "tsage-sharded")
    for key in ("optimizer_state_bytes", "adam_bytes"):
        assert whole[key] == one[key]
        assert abs(sharded[key] - one[key] / 2) < 64
    assert one["optimizer_state_bytes"] > 3 * 8 * len(one["theta"])


def test_a_report_speaks_of_all_coordinates(runs: tuple[Path, dict[str, dict[str, Any]]]) -> None:
    folder, alone = runs
    two, one = left(folder, "tsage-sharded")["report"], alone["tsage"]["report"]
    for key in ("weights", "medians", "committed_share"):
        assert np.allclose(two[key], one[key], rtol=1e-6), key


@pytest.mark.parametrize("name", ["tsage", "gradnorm", "moco"])
def test_ranks_resume_bit_exactly(name: str, runs: tuple[Path, dict[str, dict[str, Any]]]) -> None:
    folder, _ = runs
    assert left(folder, f"{name}-again")["theta"] == left(folder, f"{name}-straight")["theta"]


@pytest.mark.parametrize("name", ["tsage", "gradnorm", "moco"])
def test_one_process_resumes_what_two_began(name: str, runs: tuple[Path, dict[str, dict[str, Any]]]) -> None:
    folder, alone = runs
    assert len(alone[f"{name}-alone"]["losses"]) == 4  # six of ten steps stood in the checkpoint
    two, one = np.array(left(folder, f"{name}-straight")["theta"]), np.array(alone[f"{name}-alone"]["theta"])
    assert np.linalg.norm(two - one) <= 1e-6 * np.linalg.norm(one)


def test_ranks_that_drift_apart_are_noticed(runs: tuple[Path, dict[str, dict[str, Any]]]) -> None:
    folder, _ = runs
    for rank in (0, 1):
        assert "after step 8 of episode 1 the ranks' weights differ" in left(folder, f"drift-{rank}")["message"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_thread_outlives_the_group(runs: tuple[Path, dict[str, dict[str, Any]]]) -> None:
    # Such a thread aborts the process now and then, when the interpreter ends before it.
    for rank in (0, 1):
        threads = left(runs[0], f"threads-{rank}")
        assert threads["before"] and not threads["after"], threads


class Place(Ranks):
    """A rank by itself, for what needs no exchange."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size


@pytest.mark.parametrize("size", [2, 3, 5])
def test_shards_cover_every_coordinate_once(size: int) -> None:
    module = torch.nn.ModuleDict({"all": torch.nn.Linear(3, 2), "b": torch.nn.Linear(2, 3), "a": torch.nn.Linear(2, 1)})
    flat = FlatParameters(module, {"a.": 0, "b.": 1})
    shards = [Shard(flat, Place(r, size), True) for r in range(size)]
    covered = np.concatenate([np.arange(flat.theta.numel())[piece] for s in shards for piece in s.pieces()])
    assert sorted(covered) == list(range(flat.theta.numel()))
    for task in (0, 1):
        start, stop = flat.own_segment(task)  # type: ignore[misc]
        places = [s.own_segment(task) for s in shards]
        assert sorted(i for p in places if p for i in range(p[0].start, p[0].stop)) == list(range(start, stop))
        assert all(p is None or p[1].stop <= s.size for p, s in zip(places, shards, strict=True))


class Mailbox(Place):
    """A rank whose pieces lie in a list: rank 1 posts its own, rank 0 takes them in the same order."""

    def __init__(self, rank: int, size: int, posted: list[torch.Tensor]) -> None:
        super().__init__(rank, size)
        self.posted = posted

    def gather(self, piece: torch.Tensor, shares: Sequence[slice]) -> torch.Tensor:
        if self.rank:
            self.posted.append(piece)
            return piece
        return torch.cat([piece, self.posted.pop(0)])


def test_state_of_one_row_per_task_is_gathered_and_scattered_by_its_columns() -> None:
    flat = FlatParameters(torch.nn.Linear(3, 3), {})
    rows, kept = torch.randn(4, 12), torch.arange(4.0)
    state = {"rows": rows, "list": [rows[0].clone(), 3], "cube": torch.randn(2, 4, 12), "kept": kept}
    posted: list[torch.Tensor] = []
    shards = [Shard(flat, Mailbox(r, 2, posted), True) for r in (0, 1)]
    parts = [shard.scatter(state) for shard in shards]
    assert [p["rows"].shape for p in parts] == [(4, 6), (4, 6)] and [p["cube"].shape for p in parts] == [(2, 4, 6)] * 2
    assert torch.equal(torch.cat([p["rows"] for p in parts], 1), rows) and torch.equal(parts[1]["kept"], kept)
    shards[1].gather(parts[1])
    whole = shards[0].gather(parts[0])
    assert not posted
    for name in ("rows", "cube", "kept"):
        assert torch.equal(whole[name], state[name])  # type: ignore[arg-type]
    assert torch.equal(whole["list"][0], rows[0]) and whole["list"][1] == 3
