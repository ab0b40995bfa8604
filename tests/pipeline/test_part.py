"""Settings that choose a part of the tasks: what is planned, trained on, scored, averaged and written down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pipeline.conftest import Bench
from tiny_suite import SETTINGS

from mtbench.config import split_assignments
from mtbench.errors import ConfigError
from mtbench.pipeline.plan import Plan, make_plan
from mtbench.pipeline.request import RunRequest
from mtbench.pipeline.resolver import Resolver
from mtbench.records.files import read_record
from mtbench.records.identity import record_path, run_id
from mtbench.training.examples import first_examples


def plan(suite: Path, home: Path, *items: str, optimizer: str = "naive", **more: Any) -> Plan:
    settings = split_assignments([*SETTINGS, *items])[0]
    return make_plan(Resolver(home).resolve(RunRequest(optimizer, str(suite), settings=settings, **more)))


def keys(plan: Plan, *names: str) -> list[str]:
    return [stage.key for stage in plan.stages if not names or stage.name in names]


@pytest.mark.parametrize(
    "items",
    [
        ("train.tasks=all",),
        ("train.tasks=ask,claim,slot",),
        ('train.tasks=["slot", "ask", "claim"]',),
        ("train.examples=none",),
        ("train.start=encoder",),
        ("train.start=warmup",),
        ("train.budget=batch",),
        ("train.budget=queries", "train.tasks=all"),
    ],
)
def test_what_changes_nothing_is_nowhere(tiny_suite: Path, tmp_path: Path, items: tuple[str, ...]) -> None:
    plain, same = plan(tiny_suite, tmp_path), plan(tiny_suite, tmp_path, *items)
    assert same.run.specification == plain.run.specification and keys(same) == keys(plain)
    assert "protocol" not in plain.run.specification and not plain.run.specification["config"]["train"].keys() & {
        "tasks",
        "examples",
        "start",
        "budget",
    }


def test_a_part_shares_what_knows_no_tasks(tiny_suite: Path, tmp_path: Path) -> None:
    whole, part = plan(tiny_suite, tmp_path), plan(tiny_suite, tmp_path, "train.tasks=slot,ask")
    assert keys(part, "prepare", "bm25") == keys(whole, "prepare", "bm25")
    assert set(keys(part, "warmup", "mine", "train")).isdisjoint(keys(whole))
    assert [s.settings.get("tasks") for s in part.stages if s.name == "mine"] == ["ask,slot"] * 2
    shared = plan(tiny_suite, tmp_path, "train.tasks=slot", "train.start=warmup", "train.examples=3")
    assert keys(shared)[:4] == keys(whole)[:4]
    assert [s.label for s in shared.stages[:4]] == ["prepare", "bm25", "warmup 0", "encode 0"]
    assert set(keys(shared, "mine", "train")).isdisjoint(keys(whole))


def test_ways_to_write_the_same_tasks_are_one_run(tiny_suite: Path, tmp_path: Path) -> None:
    ids = {
        run_id(plan(tiny_suite, tmp_path, f"train.tasks={text}").run.specification)
        for text in ("ask,slot", "slot,ask", "-claim", '["ask", "slot"]')
    }
    assert len(ids) == 1


def test_the_protocol_follows_from_the_tasks(tiny_suite: Path, tmp_path: Path) -> None:
    def told(*items: str, **more: Any) -> dict[str, Any]:
        return dict(plan(tiny_suite, tmp_path, *items, **more).run.specification["protocol"])

    usual = {"examples": None, "start": "encoder", "budget": "steps"}
    assert told("train.tasks=claim") == {"name": "per-task", "task": "claim", "tasks": ["claim"], **usual}
    left_out = {"name": "leave-one-out", "task": "claim", "tasks": ["ask", "slot"], **usual}
    assert told("train.tasks=-claim") == left_out
    few = told("train.tasks=claim", "train.examples=4", "train.start=leave-one-out", "train.budget=batch")
    assert few == {
        "name": "few-shot",
        "task": "claim",
        "tasks": ["claim"],
        "examples": 4,
        "start": "leave-one-out",
        "budget": "batch",
    }


def test_one_task_alone_is_trained_with_naive_whatever_was_asked(tiny_suite: Path, tmp_path: Path) -> None:
    one = plan(tiny_suite, tmp_path, "train.tasks=ask", optimizer="tsage")
    other = plan(tiny_suite, tmp_path, "train.tasks=ask", optimizer="naive")
    assert one.run.specification == other.run.specification and one.run.specification["optimizer"]["name"] == "naive"
    two = plan(tiny_suite, tmp_path, "train.tasks=-ask", optimizer="tsage")
    assert two.run.specification["optimizer"]["name"] == "tsage"


def test_a_run_from_another_is_that_run_and_one_stage(tiny_suite: Path, tmp_path: Path) -> None:
    parent = plan(tiny_suite, tmp_path, "train.tasks=-ask", optimizer="tsage")
    leaf = plan(
        tiny_suite,
        tmp_path,
        "train.tasks=ask",
        "train.examples=3",
        "train.start=leave-one-out",
        optimizer="tsage",
    )
    there = [s.key for s in parent.until(None)]
    assert keys(leaf)[: len(there)] == there
    added = [s for s in leaf.until(None) if s.key not in there]
    assert [s.label for s in added] == ["train 3", "encode 3", "evaluate 3"]
    assert added[0].inputs["model"].key == [s for s in parent.stages if s.name == "train"][-1].key
    assert added[0].inputs["negatives"].name == "bm25" and added[0].settings["optimizer"]["name"] == "naive"
    assert leaf.run.specification["optimizer"]["name"] == "tsage"


@pytest.mark.parametrize(
    ("items", "told"),
    [
        (("train.tasks=clam",), "did you mean 'claim'"),
        (("train.tasks=ask,-claim",), "all but these"),
        (("train.tasks=-ask,-claim,-slot",), "leaves no task"),
        (("train.tasks=",), "write all"),
        (("train.tasks=ask,claim", "train.start=leave-one-out"), "must name one task"),
        (("train.tasks=-ask", "train.start=warmup"), "has seen all tasks, ask too"),
        (("train.tasks=ask", "train.start=warmup", "train.start_episode=warmup"), "naive"),
        (("train.tasks=ask", "train.start=tsage-s0-abc"), "no run of this id"),
        (("train.tasks=-ask", "encoder.sharing=per-task-query"), "cannot serve a task that it has not seen"),
        (("train.examples=0",), "greater than or equal to 1"),
        (("train.budget=hours",), "steps"),
    ],
)
def test_what_cannot_be_is_said(tiny_suite: Path, tmp_path: Path, items: tuple[str, ...], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        plan(tiny_suite, tmp_path, *items)


def test_an_encoder_is_looked_at_once_for_all_parts_of_a_suite(
    tiny_suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mtbench.pipeline import resolver as module

    looked: list[str] = []
    settled = module.settle
    monkeypatch.setattr(module, "settle", lambda config, *more: looked.append("") or settled(config, *more))
    resolver = Resolver(tmp_path)
    for items in ((), ("train.tasks=ask",), ("train.tasks=-ask", "train.budget=batch"), ("train.fusion=uniform",)):
        settings = split_assignments([*SETTINGS, *items])[0]
        run = resolver.resolve(RunRequest("naive", str(tiny_suite), settings=settings))
        assert run.config.train.fusion == ("uniform" if "train.fusion=uniform" in items else "none")
    assert len(looked) == 1


def test_fewer_examples_lie_inside_more_and_depend_on_the_seed() -> None:
    rows = np.arange(7, 300, 3)
    few, many = first_examples(rows, "nq", 0, 8), first_examples(rows, "nq", 0, 32)
    assert set(few) < set(many) < set(rows) and len(few) == 8 and len(many) == 32
    assert (np.sort(few) == few).all() and set(first_examples(rows, "nq", 1, 8)) != set(few)
    assert set(first_examples(rows, "fever", 0, 8)) != set(few)
    for count in (None, len(rows), 10_000):
        assert (first_examples(rows, "nq", 0, count) == rows).all()


def test_a_part_is_scored_on_every_task_and_averages_what_it_trains_on(bench: Bench) -> None:
    (record,) = bench.run("tsage", "train.tasks=claim", "train.examples=6")
    assert set(record["tasks"]) == {"ask", "claim", "slot"}
    assert "average" not in record and all(entry["average"] is None for entry in record["history"])
    chosen = record["selection"]["tasks"]["claim"]["metrics"]["rprecision_page"]
    assert record["selection"]["average"] == chosen
    assert record["spec"]["optimizer"]["name"] == "naive" and record["spec"]["protocol"]["examples"] == 6
    episodes = record["training"]["episodes"]
    assert [e["summary"]["task_batch_sizes"] for e in episodes] == [{"claim": 4}] * 3
    assert [e["summary"]["queries"] for e in episodes] == [{"claim": 24}, {"claim": 16}, {"claim": 16}]
    assert record["training"]["queries"] == {"claim": 56}
    assert set(record["negatives"]["mine 1"]) == {"claim"}
    loaded = read_record(record_path(bench.results, record["spec"]))
    assert loaded.kind == "ok", loaded.problem


def test_leave_one_out_is_not_chosen_by_the_task_left_out(bench: Bench) -> None:
    (record,) = bench.run("naive", "train.tasks=-claim")
    scores = {n: t["metrics"]["rprecision_page"] for n, t in record["selection"]["tasks"].items()}
    assert record["selection"]["average"] == (scores["ask"] + scores["slot"]) / 2
    assert record["training"]["queries"].keys() == {"ask", "slot"}


def test_budgets_are_measured_by_the_run_on_all_tasks(bench: Bench) -> None:
    expected = {"steps": (6, {"ask": 4}), "queries": (2, {"ask": 12}), "batch": (6, {"ask": 12})}
    for budget, (steps, sizes) in expected.items():
        (record,) = bench.run("naive", "train.tasks=ask", f"train.budget={budget}", "train.episodes=0")
        summary = record["training"]["episodes"][0]["summary"]
        assert (summary["steps"], summary["task_batch_sizes"]) == (steps, sizes), budget


def test_from_the_shared_warm_up_only_the_episodes_differ(bench: Bench) -> None:
    bench.run("naive")
    (record,) = bench.run("naive", "train.tasks=ask", "train.start=warmup")
    reused = {(s["name"], s["episode"]): s["reused"] for s in record["stages"]}
    assert reused["warmup", 0] and reused["encode", 0] and not reused["train", 1]
    assert record["training"]["episodes"][0]["summary"]["task_batch_sizes"].keys() == {"ask", "claim", "slot"}


def test_few_shot_from_leave_one_out_adds_one_stage_of_training(bench: Bench) -> None:
    (parent,) = bench.run("tsage", "train.tasks=-ask")
    (leaf,) = bench.run("tsage", "train.tasks=ask", "train.examples=5", "train.start=leave-one-out")
    computed = [s["name"] for s in leaf["stages"] if not s["reused"]]
    assert computed == ["train", "encode", "evaluate"]
    assert leaf["training"]["queries"]["ask"] == 6 * 4
    assert leaf["history"][-2]["tasks"] == parent["history"][-1]["tasks"]
    assert leaf["tasks"]["ask"]["metrics"] != parent["tasks"]["ask"]["metrics"]


def test_a_run_starts_from_a_run_by_its_id_in_a_store_that_lost_it(bench: Bench) -> None:
    (parent,) = bench.run("tsage", "tau=3", "train.lr=4e-3")
    options: dict[str, Any] = {"store": bench.folder / "other"}
    (leaf,) = bench.run("naive", "train.tasks=ask", f"train.start={parent['run_id']}", **options)
    assert leaf["spec"]["config"]["train"]["start"] == parent["run_id"]
    assert [s["fingerprint"] for s in leaf["stages"]][:-3] == [s["fingerprint"] for s in parent["stages"]]
    before = {n: t["metrics"] for n, t in parent["tasks"].items()}
    metric = "rprecision_page"
    assert leaf["history"][-2]["tasks"] == {n: m[metric] for n, m in before.items()}
    with pytest.raises(ConfigError, match="no record below"):
        bench.run("naive", "train.tasks=ask", "train.start=naive-s0-000000000000")
    with pytest.raises(ConfigError, match="other texts"):
        bench.run("naive", "train.tasks=ask", f"train.start={parent['run_id']}", "data.prompt=none")


def test_a_tower_of_its_own_is_the_suites_and_the_others_stay(bench: Bench) -> None:
    from mtbench.pipeline.context import Context
    from mtbench.storage.store import Store

    items = ("encoder.sharing=per-task-query", "train.tasks=slot", "train.weight_decay=0.1", "train.episodes=0")
    (record,) = bench.run("naive", *items)
    run = Resolver(bench.store).resolve(
        RunRequest("naive", str(bench.suite), settings=split_assignments([*SETTINGS, *items])[0])
    )
    stages = {s.name: s for s in make_plan(run).stages}
    context = Context(run, Store(bench.store))
    before = context.initial_model(stages["prepare"]).state_dict()
    after = context.model(stages["warmup"], stages["prepare"]).state_dict()
    moved = {name.split(".")[1] for name, value in after.items() if not bool((value == before[name]).all())}
    assert moved == {"query_2", "passage"}
    assert [w["code"] for w in record["warnings"]].count("untrained-tower") == 1


def test_a_record_on_a_part_gives_no_average_to_the_board(bench: Bench) -> None:
    from mtbench.report.leaderboard import load_board
    from mtbench.report.tables import to_dict

    bench.run("naive")
    bench.run("naive", "train.tasks=claim")
    board = load_board(bench.results, "tiny", "mini")
    assert [row.label for row in board.rows] == ["naive", "per-task"]
    whole, part = board.rows
    assert whole.seeds_done == [0] and part.seeds_done == [] and part.average.mean is None
    assert part.tasks["claim"].mean is not None and part.tasks["ask"].mean is None
    assert json.dumps(to_dict(board))
