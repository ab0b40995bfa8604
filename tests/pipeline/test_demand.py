"""What is computed, read and kept of a plan: what somebody needs, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pipeline.conftest import Bench
from tiny_suite import SETTINGS

from mtbench.execution.matrix import RunMatrix
from mtbench.execution.options import PlanOptions
from mtbench.execution.planned import plan_runs
from mtbench.execution.show import plan_summary
from mtbench.pipeline.demand import demanded
from mtbench.storage import store as store_module
from mtbench.storage.store import Store


def figures(record: dict[str, Any]) -> dict[str, Any]:
    """What must not depend on what stands in the store."""
    return {key: record[key] for key in ("run_id", "status", "tasks", "average", "selection", "history")}


def stages_of(bench: Bench, name: str) -> list[Path]:
    return sorted((bench.store / "stages" / name).iterdir())


def computed(record: dict[str, Any]) -> list[str]:
    return [f"{s['name']} {s['episode']}" for s in record["stages"] if not s["reused"]]


def test_the_demand_of_a_plan_is_what_missing_results_read(bench: Bench) -> None:
    matrix = RunMatrix(["naive"], str(bench.suite), assignments=SETTINGS, baselines=())
    planned = plan_runs(matrix, PlanOptions(bench.store, bench.results))
    stages = planned.jobs[0].plan.until(None)
    everything = {stage.key for stage in stages}

    def labels(missing: set[str]) -> list[str]:
        gone = {s.key for s in stages if s.label in missing}
        return [s.label for s in demanded(stages, lambda name, key: key not in gone).values()]

    assert list(demanded(stages, lambda name, key: False)) == [s.key for s in stages]
    assert demanded(stages, lambda name, key: key in everything) == {}
    assert labels({"encode 0", "encode 1", "encode 2", "prepare"}) == []
    assert labels({"encode 0", "encode 2", "evaluate 2"}) == ["encode 2", "evaluate 2"]
    assert labels({"encode 0", "mine 1"}) == ["encode 0", "mine 1"]
    assert labels({"train 2"}) == ["train 2"]
    until = planned.jobs[0].plan.until("encode")
    assert [s.label for s in demanded(until, lambda name, key: name != "encode").values()] == ["encode 2"]


def test_deleted_vectors_are_not_made_again_for_another_method(bench: Bench) -> None:
    (naive,) = bench.run("naive")
    store = Store(bench.store)
    for folder in stages_of(bench, "encode"):
        store.remove("encode", folder.name)
    (again,) = bench.run("naive", rerun="all")
    assert computed(again) == [] and len(again["stages"]) == len(naive["stages"])
    assert again["cost"]["total_seconds"] == pytest.approx(naive["cost"]["total_seconds"], abs=0.01)
    (record,) = bench.run("tsage")
    assert computed(record) == ["train 2", "encode 2", "evaluate 2"]
    elsewhere = Bench(bench.folder / "other", bench.suite)
    assert figures(record) == figures(elsewhere.run("tsage")[0])


def test_a_reused_plan_reads_what_the_record_is_made_of_alone(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    (first,) = bench.run("naive")
    hashed: list[str] = []
    original = store_module.file_digest

    def counted(file: Path) -> str:
        hashed.append(file.name)
        return original(file)

    monkeypatch.setattr(store_module, "file_digest", counted)
    (again,) = bench.run("naive", rerun="all")
    assert sorted(hashed) == ["journal.json"] * 3 + ["scores.parquet"] * 3
    assert figures(again) == figures(first) and computed(again) == []
    assert again["stages"] == [{**stage, "reused": True} for stage in first["stages"]]


def test_damage_is_found_by_whoever_reads_and_mended(bench: Bench) -> None:
    (first,) = bench.run("naive")
    last = first["stages"][-1]["fingerprint"]
    (weights,) = (bench.store / "stages" / "train" / first["stages"][-3]["fingerprint"]).rglob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    bench.run("naive", rerun="all")
    assert not (bench.store / "damaged").exists()  # nobody needed them
    Store(bench.store).remove("evaluate", last)
    (again,) = bench.run("naive", rerun="all")
    assert computed(again) == ["train 2", "evaluate 2"] and len(list((bench.store / "damaged").iterdir())) == 1
    assert figures(again) == figures(first)
    journal = bench.store / "stages" / "train" / first["stages"][-3]["fingerprint"] / "journal.json"
    journal.write_text("[]")
    (third,) = bench.run("naive", rerun="all")
    assert computed(third) == ["train 2"] and figures(third) == figures(first)


def test_vectors_go_with_their_last_planned_reader(bench: Bench) -> None:
    kept = bench.run(["naive", "tsage"])
    elsewhere = Bench(bench.folder / "other", bench.suite)
    freed = elsewhere.run(["naive", "tsage"], "store.keep_vectors=false")
    assert [figures(r) for r in freed] == [figures(r) for r in kept]
    assert list((bench.store / "stages" / "encode").rglob("shard-*")) != []
    assert list((elsewhere.store / "stages" / "encode").rglob("shard-*")) == []
    assert computed(freed[1]) == ["train 2", "encode 2", "evaluate 2"]  # nothing that naive left was made again
    (again,) = elsewhere.run("tsage", "store.keep_vectors=false", rerun="all")
    assert [s["name"] for s in again["stages"]] == [s["name"] for s in kept[1]["stages"]]
    assert computed(again) == [] and again["cost"]["total_seconds"] == freed[1]["cost"]["total_seconds"]
    (seeking,) = elsewhere.run("tsage", "search.depth=30", until="evaluate")  # a new reader: they are made again
    assert computed(seeking) == [f"{name} {e}" for e in range(3) for name in ("encode", "evaluate")]
    summary = plan_summary(
        plan_runs(
            RunMatrix(["tsage"], str(bench.suite), assignments=SETTINGS, baselines=()),
            PlanOptions(elsewhere.store, elsewhere.results, rerun="all"),
        )
    )
    assert summary["stages_to_compute"] == 0


def test_state_is_kept_only_where_the_next_episode_reads_it(bench: Bench) -> None:
    bench.run("tsage", "train.start_episode=1")
    assert [f for f in stages_of(bench, "train") if (f / "optimizer").exists()] == []
    bench.run("tsage", "train.start_episode=1", "reset_on_episode=false")
    assert len([f for f in stages_of(bench, "train") if (f / "optimizer").exists()]) == 2
