"""What a record says about its own figures: methods that are naive in all but name, tasks that never move."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tiny_suite import SETTINGS

from mtbench.config import split_assignments
from mtbench.pipeline.plan import Plan, Stage, make_plan
from mtbench.pipeline.request import RunRequest
from mtbench.pipeline.resolver import Resolver
from mtbench.pipeline.warnings import FROZEN_STEPS, NAIVE_BELOW, run_warnings
from mtbench.records.record import RunRecord, RunWarning
from mtbench.storage.store import Built, Store


def planned(suite: Path, home: Path, optimizer: str, **train: Any) -> Plan:
    settings = {"train": {**split_assignments(SETTINGS)[0]["train"], **train}}
    return make_plan(Resolver(home).resolve(RunRequest(optimizer, str(suite), settings=settings)))


def warned(
    plan: Plan, folder: Path, differences: dict[int, float | None], frozen: str = "", loss: float = 1.0
) -> list[RunWarning]:
    """What is said of a plan whose stages of training have these differences by episode."""
    built: dict[str, Built] = {}
    for stage in (s for s in plan.stages if s.episode in differences and s.name in ("warmup", "train")):
        place = folder / stage.label
        place.mkdir()
        norms = {"a": 1.0, "b": 1.0} | ({frozen: 0.0} if frozen else {})
        losses = dict.fromkeys(norms, loss)
        journal = [{"step": step, "gradient_norms": norms, "losses": losses} for step in (0, FROZEN_STEPS)]
        (place / "journal.json").write_text(json.dumps(journal))
        summary = {"task_batch_sizes": {"a": 1, "b": 1}, "step_difference": differences[stage.episode]}  # type: ignore[index]
        built[stage.key] = SimpleNamespace(folder=place, results={"summary": summary})  # type: ignore[assignment]
    record: RunRecord = {"tasks": {}}  # type: ignore[typeddict-item]
    return run_warnings(record, plan, built, Store(folder / "store"))


LITTLE, MUCH = NAIVE_BELOW / 2, NAIVE_BELOW * 2


@pytest.mark.parametrize(
    ("optimizer", "start", "differences", "said"),
    [
        ("dwa", 2, {0: 0.0, 1: 0.0, 2: LITTLE}, True),
        ("dwa", 2, {0: 0.0, 1: 0.0, 2: MUCH}, False),
        ("dwa", 2, {0: 0.0, 1: 0.0}, False),  # not yet acting
        ("dwa", 1, {0: 0.0, 1: LITTLE, 2: MUCH}, False),
        ("dwa", "warmup", {0: LITTLE, 1: LITTLE, 2: LITTLE}, True),
        ("dwa", 2, {2: None}, False),
        ("naive", 2, {0: 0.0, 1: 0.0, 2: 0.0}, False),
    ],
)
def test_a_method_that_acts_as_naive_is_named(
    optimizer: str,
    start: str | int,
    differences: dict[int, float | None],
    said: bool,
    tiny_suite: Path,
    tmp_path: Path,
) -> None:
    found = warned(planned(tiny_suite, tmp_path, optimizer, start_episode=start), tmp_path, differences)
    assert [w["code"] for w in found] == (["acts-as-naive"] if said else [])
    if said:
        assert found[0]["message"].startswith("dwa is naive here in all but name") and "5 %" in found[0]["message"]


@pytest.mark.parametrize(
    ("optimizer", "harm"),
    [
        ("pcgrad", ""),
        ("mgda", "; with it mgda stops: the shortest vector is 0, and no task learns"),
        ("gradnorm", "; with it gradnorm gives nearly all weight to the task without a gradient, and little is learnt"),
    ],
)
def test_a_frozen_task_is_named_with_what_it_does_to_the_method(
    optimizer: str, harm: str, tiny_suite: Path, tmp_path: Path
) -> None:
    plan = planned(tiny_suite, tmp_path, optimizer)
    before, acting = warned(plan, tmp_path, {1: 1.0, 2: 1.0}, frozen="b")
    assert before["message"] == "b had no gradient for 100 steps of train 1: it learned nothing there"
    assert acting["task"] == "b" and acting["code"] == "frozen-task"
    assert acting["message"] == f"b had no gradient for 100 steps of train 2: it learned nothing there{harm}"


def test_a_task_without_a_query_in_the_logged_batches_of_a_union_is_not_frozen(
    tiny_suite: Path, tmp_path: Path
) -> None:
    train = {**split_assignments(SETTINGS)[0]["train"], "mixing": "union"}
    request = RunRequest("naive", str(tiny_suite), settings={"train": train})
    plan = make_plan(Resolver(tmp_path).resolve(request))
    assert warned(plan, tmp_path, {1: 1.0}, frozen="b", loss=0.0) == []
    (tmp_path / "with queries").mkdir()
    assert [w["task"] for w in warned(plan, tmp_path / "with queries", {1: 1.0}, frozen="b")] == ["b"]


@pytest.mark.parametrize(
    ("report", "params", "said"),
    [
        ({"medians": [1.0, 2.0], "zero_medians": 1}, {}, True),
        ({"medians": [1.0, 2.0], "zero_medians": 2}, {}, False),
        ({"medians": [1.0, 2.0], "zero_medians": 1, "guarded_medians": 2}, {}, False),
        ({"medians": [1.0, 2.0], "zero_medians": 1}, {"median_over": "nonzero"}, False),
        ({}, {}, False),
    ],
)
def test_a_stage_of_before_the_medians_guard_says_that_it_may_have_needed_it(
    report: dict[str, Any], params: dict[str, Any], said: bool, tiny_suite: Path, tmp_path: Path
) -> None:
    settings = {"train": split_assignments(SETTINGS)[0]["train"]}
    plan = make_plan(Resolver(tmp_path).resolve(RunRequest("tsage", str(tiny_suite), params=params, settings=settings)))
    stage = next(s for s in plan.stages if (s.name, s.episode) == ("train", 2))
    (tmp_path / "journal.json").write_text(json.dumps([{"step": 0}, {"step": 1, "report": report}]))
    built: Any = SimpleNamespace(folder=tmp_path, results={"summary": {"task_batch_sizes": {}}})
    record: Any = {"tasks": {}, "run_id": "tsage-s0-0123456789ab"}
    found = run_warnings(record, plan, {stage.key: built}, Store(tmp_path / "store"))
    assert [w["code"] for w in found] == (["computed-otherwise"] if said else [])
    if said:
        assert found[0]["message"].startswith("train 2 stood in the store from an earlier version, in which tsage may")
        assert "mtbench clean tsage-s0-0123456789ab" in found[0]["message"]


def test_a_stage_of_an_earlier_version_says_nothing_of_naive(tiny_suite: Path, tmp_path: Path) -> None:
    plan = planned(tiny_suite, tmp_path, "dwa")
    stage: Stage = next(s for s in plan.stages if (s.name, s.episode) == ("train", 2))
    (tmp_path / "journal.json").write_text("[]")
    old = SimpleNamespace(folder=tmp_path, results={"summary": {"task_batch_sizes": {"a": 1}}})
    assert not run_warnings({"tasks": {}}, plan, {stage.key: old}, Store(tmp_path / "store"))  # type: ignore[typeddict-item,dict-item]
