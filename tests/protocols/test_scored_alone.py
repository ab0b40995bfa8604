"""Tasks that are only scored, and several towers that begin as one after the warm-up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_suite import SETTINGS, write_suite

import mtbench
from mtbench.cli.main import main
from mtbench.config import split_assignments
from mtbench.data.suite_file import read_suite_folder
from mtbench.errors import ConfigError, DataError
from mtbench.pipeline.plan import Plan, make_plan
from mtbench.pipeline.request import RunRequest
from mtbench.pipeline.resolver import Resolver


def without_train(suite: Path, *tasks: str) -> Path:
    """The suite with these tasks' train judgements left out."""
    file = suite / "suite.toml"
    lines = [
        line for line in file.read_text().splitlines() if line not in [f'train_qrels = "{t}/train.tsv"' for t in tasks]
    ]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return suite


@pytest.fixture
def unseen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MTBENCH_HOME", str(tmp_path / "home"))
    return without_train(write_suite(tmp_path / "tiny"), "claim")


def plan(suite: Path, *items: str, **more: Any) -> Plan:
    settings = split_assignments([*SETTINGS, *items])[0]
    return make_plan(
        Resolver(suite.parent / "home").resolve(RunRequest("naive", str(suite), settings=settings, **more))
    )


def test_a_task_without_train_judgements_is_scored_and_never_trained_on(unseen: Path, tmp_path: Path) -> None:
    places: dict[str, Any] = {"store": tmp_path / "store", "results": tmp_path / "results", "set": list(SETTINGS)}
    records = mtbench.run("naive", unseen, **places)
    assert [r["status"] for r in records] == ["complete"] * 3
    for record in records:
        assert set(record["tasks"]) == {"ask", "claim", "slot"} and "average" in record
        assert record["tasks"]["claim"]["num_queries"] == 10
    trained = records[2]
    assert trained["training"]["queries"].keys() == {"ask", "slot"} and "protocol" not in trained["spec"]
    assert set(trained["selection"]["tasks"]) == {"ask", "slot"} and "average" in trained["selection"]
    alone = mtbench.run("naive", unseen, protocol="per-task", baselines=(), **places)
    assert [r["spec"]["protocol"]["task"] for r in alone] == ["ask", "slot"]
    with pytest.raises(ConfigError, match="claim of suite tiny@1 has no train judgements"):
        plan(unseen, "train.tasks=claim")


def test_checks_of_a_suite_know_tasks_that_are_only_scored(unseen: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "suite", str(unseen)]) == 0
    assert "0 train and 10 dev queries" in capsys.readouterr().out
    file = unseen / "suite.toml"
    file.write_text(file.read_text().replace('name = "claim"', 'name = "claim"\nformat = "kilt"'), encoding="utf-8")
    with pytest.raises(DataError, match="Only a task of the format beir"):
        read_suite_folder(unseen)


def test_a_suite_of_tasks_that_are_only_scored_has_baselines_alone(unseen: Path, tmp_path: Path) -> None:
    suite = without_train(unseen, "ask", "slot")
    with pytest.raises(ConfigError, match="no task with train judgements"):
        plan(suite)
    settings = split_assignments(SETTINGS)[0]
    run = Resolver(tmp_path / "home").resolve(RunRequest("bm25", str(suite), settings=settings))
    assert run.trained == ()


def test_a_tower_for_each_task_cannot_serve_one_that_is_only_scored(unseen: Path) -> None:
    with pytest.raises(ConfigError, match="nothing trains that of claim"):
        plan(unseen, "encoder.sharing=per-task-query")


def test_towers_that_split_after_the_warm_up_share_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTBENCH_HOME", str(tmp_path / "home"))
    suite = write_suite(tmp_path / "tiny")
    places: dict[str, Any] = {"store": tmp_path / "store", "results": tmp_path / "results", "baselines": ()}
    (one,) = mtbench.run("naive", suite, set=list(SETTINGS), **places)
    found = {}
    for sharing in ("untied", "per-task-query"):
        items = [*SETTINGS, f"encoder.sharing={sharing}", "encoder.split_after=warmup"]
        (found[sharing],) = mtbench.run("naive", suite, set=items, **places)
        reused = {(s["name"], s["episode"]) for s in found[sharing]["stages"] if s["reused"]}
        assert reused >= {("prepare", None), ("bm25", None), ("warmup", 0), ("encode", 0), ("evaluate", 0), ("mine", 1)}
        assert found[sharing]["history"][0] == one["history"][0]
        assert found[sharing]["spec"]["config"]["encoder"]["split_after"] == "warmup"
    sizes = {name: r["training"]["episodes"][1]["summary"]["num_parameters"] for name, r in found.items()}
    single = one["training"]["episodes"][1]["summary"]["num_parameters"]
    assert sizes == {"untied": 2 * single, "per-task-query": 4 * single}
    assert len({str(r["history"][1]["tasks"]) for r in [one, *found.values()]}) > 1


def test_splitting_needs_something_to_split(tmp_path: Path) -> None:
    suite = write_suite(tmp_path / "tiny")
    for items, told in (
        (("encoder.split_after=warmup",), "sharing=shared has one"),
        (("encoder.split_after=warmup", "encoder.sharing=untied", "train.episodes=0"), "nothing after the warm-up"),
    ):
        with pytest.raises(ConfigError, match=told):
            plan(suite, *items)
