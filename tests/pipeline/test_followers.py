"""One run on several ranks: who leads, who helps, and how failures end it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pipeline import rank_failures
from pipeline.conftest import Bench
from tiny_suite import SETTINGS
from training.test_ranks import start_ranks


def test_failures_of_all_go_by_and_the_failure_of_one_ends_the_group(tmp_path: Path) -> None:
    ranks = start_ranks([str(Path(rank_failures.__file__)), str(tmp_path / "said.json")])
    errors = [process.communicate(timeout=120)[1] for process in ranks]
    said = json.loads((tmp_path / "said.json").read_text())
    assert said[0] == "whole: 2"
    assert said[1] == "both: RunError: diverged"
    assert said[2] == "first: OSError: disk full"
    assert said[3] == "whole: 2"
    assert said[4] == "second: RanksLostError: rank 1 failed in second: ValueError: no memory"
    assert said[5].startswith("whole: RanksLostError: not computed: rank 1 failed in second earlier")
    assert [process.returncode for process in ranks] == [0, 1]
    assert "mtbench: rank 1: ValueError: no memory" in errors[1] and "Traceback" not in errors[1]


def test_the_command_on_two_ranks(bench: Bench) -> None:
    """Encoding and search give the same files; what was computed by one process is reused by two."""
    words = ["-m", "mtbench", "run", "-o", "naive", "-s", str(bench.suite), "--set", "search.shard_size=10", "--json"]
    words += ["--store", str(bench.store), "--results", str(bench.results)]
    for item in SETTINGS:
        words += ["--set", item]
    ranks = start_ranks(words)
    (text, errors), (nothing, silence) = (process.communicate(timeout=240) for process in ranks)
    assert [process.returncode for process in ranks] == [0, 0], errors + silence
    assert nothing == "" and silence == ""
    records = {r["spec"]["optimizer"]["name"]: r for r in json.loads(text)["runs"]}
    assert {r["status"] for r in records.values()} == {"complete"}
    assert records["naive"]["training"]["episodes"][0]["summary"]["ranks"] == 2

    alone = {"store": bench.folder / "alone", "results": bench.folder / "alone-results"}
    untrained, naive = bench.run("naive", "search.shard_size=10", baselines=("untrained",), **alone)
    losses = [r["training"]["episodes"][-1]["losses"]["ask"] for r in (naive, records["naive"])]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert untrained["per_query"] == records["untrained"]["per_query"]
    encode = next(s for s in untrained["stages"] if s["name"] == "encode")
    files = [
        sorted((s / "stages" / "encode" / encode["fingerprint"]).rglob("*.npy")) for s in (alone["store"], bench.store)
    ]
    assert len(files[0]) == 5 and [f.read_bytes() for f in files[0]] == [f.read_bytes() for f in files[1]]
    (again,) = bench.run("naive", "search.shard_size=10", rerun="all")
    assert {s["reused"] for s in again["stages"]} == {True} and again["average"] == records["naive"]["average"]
