"""``encoder.sharing=per-family-query``: tasks of one family share a query tower, which serves a task left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_suite import SETTINGS, write_suite

import mtbench
from mtbench.config import split_assignments
from mtbench.errors import ConfigError
from mtbench.model.flat import FlatParameters
from mtbench.pipeline.context import Context
from mtbench.pipeline.plan import make_plan
from mtbench.pipeline.request import RunRequest
from mtbench.pipeline.resolver import Resolver
from mtbench.storage.store import Store

FAMILIES = (*SETTINGS, "encoder.sharing=per-family-query", "train.weight_decay=0.1", "train.episodes=1")


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two tasks of one family and one of another."""
    monkeypatch.setenv("MTBENCH_HOME", str(tmp_path / "home"))
    folder = write_suite(tmp_path / "tiny")
    head, _, slot = (folder / "suite.toml").read_text().rpartition('family = "qa"')
    (folder / "suite.toml").write_text(f'{head}family = "slot_filling"{slot}', encoding="utf-8")
    return folder


def run(suite: Path, *items: str) -> dict[str, Any]:
    places: dict[str, Any] = {"store": suite.parent / "store", "results": suite.parent / "results", "baselines": ()}
    (record,) = mtbench.run("naive", suite, set=[*FAMILIES, *items], **places)
    return dict(record)


def models(suite: Path, *items: str) -> tuple[Any, Any]:
    """The encoder before training and after the last episode."""
    settings = split_assignments([*FAMILIES, *items])[0]
    resolved = Resolver(suite.parent / "store").resolve(RunRequest("naive", str(suite), settings=settings))
    plan = make_plan(resolved)
    context = Context(resolved, Store(suite.parent / "store"))
    last = [stage for stage in plan.stages if stage.name == "train"][-1]
    return context.initial_model(plan.stages[0]), context.model(last, plan.stages[0])


def moved(before: Any, after: Any) -> set[str]:
    old = before.state_dict()
    return {n.split(".")[1] for n, value in after.state_dict().items() if not torch.equal(value, old[n])}


def test_tasks_of_a_family_share_a_tower(suite: Path) -> None:
    assert run(suite)["status"] == "complete"
    before, after = models(suite)
    assert set(after.backbones) == {"query_qa", "query_slot_filling", "passage"}
    assert after.families == ("qa", "qa", "slot_filling")
    assert after.backbone("query", 0) is after.backbone("query", 1) is not after.backbone("query", 2)
    assert moved(before, after) == {"query_qa", "query_slot_filling", "passage"}
    flat = FlatParameters(after, after.owners)
    assert flat.own_segment(2) is not None and flat.own_segment(0) is flat.own_segment(1) is None
    assert {name.split(".")[1] for name, _, _ in flat.layout} == {"query_qa", "passage"}


def test_the_tower_of_an_untrained_family_stays_as_it_is(suite: Path) -> None:
    record = run(suite, "train.tasks=-slot,-claim")
    assert moved(*models(suite, "train.tasks=-slot,-claim")) == {"query_qa", "passage"}
    (told,) = [w["message"] for w in record["warnings"] if w["code"] == "untrained-tower"]
    assert told.startswith("the query towers of slot are untrained")


def test_a_task_left_out_is_served_by_its_family(suite: Path) -> None:
    record = run(suite, "train.tasks=-claim")
    assert record["spec"]["protocol"]["name"] == "leave-one-out" and record["status"] == "complete"
    with pytest.raises(ConfigError, match="tower for each family, and nothing trains that of slot"):
        run(suite, "train.tasks=-slot")


def test_families_may_split_after_the_warm_up_and_are_loaded_again(suite: Path) -> None:
    record = run(suite, "encoder.split_after=warmup")
    assert record["status"] == "complete"
    trained = [s for s in record["stages"] if s["name"] == "train"][-1]
    folder = Store(suite.parent / "store").folder("train", trained["fingerprint"]) / "model"
    places: dict[str, Any] = {"store": suite.parent / "store", "results": suite.parent / "results"}
    items = [item for item in SETTINGS if not item.startswith("encoder.")]
    (again,) = mtbench.run("naive", suite, encoder=folder, set=[*items, "train.lr=1e-4"], baselines=(), **places)
    assert again["spec"]["config"]["encoder"]["sharing"] == "per-family-query" and again["status"] == "complete"
