"""One model merged of the runs on one task each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_suite import SETTINGS, write_suite

import mtbench
from mtbench.config import split_assignments
from mtbench.errors import ConfigError, UsageError
from mtbench.pipeline.context import Context
from mtbench.pipeline.plan import Plan, make_plan
from mtbench.pipeline.request import RunRequest
from mtbench.pipeline.resolver import Resolver
from mtbench.pipeline.stages.fuse import _weights
from mtbench.report.leaderboard import load_board
from mtbench.storage.store import Store

TASKS = ("ask", "claim", "slot")


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MTBENCH_HOME", str(tmp_path / "home"))
    return write_suite(tmp_path / "tiny")


def run(suite: Path, *items: str, **options: Any) -> list[Any]:
    places: dict[str, Any] = {"store": suite.parent / "store", "results": suite.parent / "results", "baselines": ()}
    return mtbench.run("tsage", suite, set=[*SETTINGS, "train.episodes=1", *items], **places, **options)


def plan(suite: Path, *items: str) -> Plan:
    settings = split_assignments([*SETTINGS, "train.episodes=1", *items])[0]
    return make_plan(Resolver(suite.parent / "store").resolve(RunRequest("naive", str(suite), settings=settings)))


def states(suite: Path, *items: str) -> dict[str, Any]:
    """Parameters of the start, of each run's model and of the merged one."""
    whole = plan(suite, *items)
    context = Context(whole.run, Store(suite.parent / "store"))
    (fuse,) = (stage for stage in whole.stages if stage.name == "fuse")
    models = {name: context.model(s, whole.stages[0]) for name, s in fuse.inputs.items() if name != "prepare"}
    models.setdefault("start", context.initial_model(whole.stages[0]))
    models["fused"] = context.model(fuse, whole.stages[0])
    return {name: model.state_dict() for name, model in models.items()}


def test_equal_weights_give_the_mean_of_the_runs(suite: Path) -> None:
    alone = run(suite, protocol="per-task", start="warmup")
    (record,) = run(suite, protocol="fused", start="warmup")
    assert [s["name"] for s in record["stages"] if not s["reused"]] == ["fuse", "encode", "evaluate"]
    assert record["spec"]["optimizer"]["name"] == "naive" and "average" in record
    told = record["spec"]["protocol"]
    assert (told["name"], told["start"], told["fusion"], told["task"]) == ("fused", "warmup", "uniform", None)
    asked = {task: sum(r["training"]["queries"].get(task, 0) for r in alone) for task in TASKS}
    warm = dict.fromkeys(TASKS, 2 * 6 * 4)  # the shared warm-up counts once here, three times there
    assert record["training"] == {"episodes": [], "queries": {t: n - warm[t] for t, n in asked.items()}}
    found = states(suite, "train.fusion=uniform", "train.start=warmup")
    for name, value in found["fused"].items():
        mean = sum(found[f"model_{task}"][name].double() for task in TASKS) / 3
        assert torch.allclose(value.double(), mean, atol=1e-6), name


def test_deviations_weigh_what_a_run_has_moved(suite: Path) -> None:
    (record,) = run(suite, protocol="fused", fusion="deviation")
    found = states(suite, "train.fusion=deviation")
    for name, value in found["fused"].items():
        start = found["start"][name].double()
        moves = [found[f"model_{task}"][name].double() - start for task in TASKS]
        norms = [float(move.norm()) for move in moves]
        if sum(norms):
            merged = start + sum(n / sum(norms) * move for n, move in zip(norms, moves, strict=True))
            assert torch.allclose(value.double(), merged, atol=1e-6), name
    assert record["spec"]["protocol"]["fusion"] == "deviation"
    zero = torch.zeros(3)
    assert _weights({"a": zero, "b": zero}, "deviation") == {"a": 0.5, "b": 0.5}
    assert _weights({"a": torch.ones(1), "b": 3 * torch.ones(1)}, "deviation") == {"a": 0.25, "b": 0.75}


def test_a_tower_of_one_task_is_that_of_its_run(suite: Path) -> None:
    items = ("encoder.sharing=per-task-query", "encoder.split_after=warmup")
    (record,) = run(suite, *items, protocol="fused", start="warmup")
    assert record["status"] == "complete"
    found = states(suite, *items, "train.fusion=uniform", "train.start=warmup")
    for place, task in enumerate(TASKS):
        own = [name for name in found["fused"] if name.startswith(f"backbones.query_{place}.")]
        assert own and all(torch.allclose(found["fused"][n], found[f"model_{task}"][n], atol=1e-6) for n in own)


def test_fused_rows_stand_on_the_main_board(suite: Path) -> None:
    run(suite)
    run(suite, protocol=["per-task", "fused"], fusion=["uniform", "deviation"])
    board = load_board(suite.parent / "results", "tiny", "mini", baseline="tsage")
    assert {row.label for row in board.rows} == {"tsage", "per-task", "fused (uniform)", "fused (deviation)"}
    assert all(not row.variant and row.seeds_done == [0] for row in board.rows)
    assert all("delta_m" in row.measures for row in board.rows if row.label != "per-task")


def test_what_cannot_be_merged_is_said(suite: Path) -> None:
    for items, told in (
        (("train.fusion=uniform", "train.tasks=ask"), "leave train.tasks and train.examples out"),
        (("train.fusion=uniform", "train.start=leave-one-out"), "leave train.tasks"),
        (("train.fusion=mean",), "uniform"),
    ):
        with pytest.raises(ConfigError, match=told):
            plan(suite, *items)
    for options in ({"protocol": "fused", "fusion": "median"}, {"protocol": "per-task", "fusion": "uniform"}):
        with pytest.raises(UsageError, match="--fusion"):
            run(suite, **options)
    assert json.dumps(plan(suite, "train.fusion=uniform").run.specification)
