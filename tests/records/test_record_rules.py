"""The rules of a record: the average, what is filled in and dropped on reading, what a failed or new record has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from synthetic_records import make_record, make_spec

from mtbench.records.files import as_stored, read_record, write_record
from mtbench.records.identity import new_record, run_id
from mtbench.records.record import BASELINES, average, error_type, optimizer_params
from mtbench.records.text import HEAVY
from mtbench.registry import entries


def tasks(**values: float | None) -> dict:
    return {name: {"metrics": {"mrr@10": value}, "num_queries": 3} for name, value in values.items()}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (tasks(nq=0.25, el=0.75), 0.5),
        (tasks(nq=0.25, el=0.75, more=1.0), 0.5),
        (tasks(nq=0.25), None),
        (tasks(nq=0.25, el=None), None),
        (tasks(nq=0.0, el=0.0), 0.0),
        ({}, None),
    ],
)
def test_an_average_is_over_all_named_tasks_or_there_is_none(found: dict, expected: float | None) -> None:
    assert average(found, ["nq", "el"], "mrr@10") == expected
    assert average(found, ["nq", "el"], "recall@20") is None


def test_there_is_no_average_over_no_task() -> None:
    assert average(tasks(nq=0.5), [], "mrr@10") is None


def test_a_new_record_is_one_that_can_be_written_and_read(tmp_path: Path) -> None:
    record = new_record(make_spec("tsage", 1, params={"tau": 2.0}), "mrr@10", {"device": "cpu"})
    loaded = read_record(write_record(tmp_path, record))
    assert (loaded.kind, loaded.record) == ("ok", record)
    assert record["run_id"] == run_id(record["spec"]) and record["status"] == "running"


def test_what_is_written_is_what_as_stored_gives(tmp_path: Path) -> None:
    write_record(tmp_path, make_record("tsage", extra={"tuning": {"trials": 5}}))
    again = {k: v for k, v in make_record("tsage", extra={"cost": {"step_ms": float("nan")}}).items() if k != "tuning"}
    stored = as_stored(tmp_path, again)
    assert stored["tuning"] == {"trials": 5} and stored["cost"] == {"step_ms": None}
    assert json.loads(write_record(tmp_path, again).read_text(encoding="utf-8")) == stored


def test_what_every_record_has_is_there_after_reading_and_nulls_are_not(tmp_path: Path) -> None:
    bare = {"schema": 1, "run_id": "x", "status": "failed", "spec": make_spec(), "training": None, "average": None}
    (tmp_path / "bare.json").write_text(json.dumps(bare), encoding="utf-8")
    record = read_record(tmp_path / "bare.json").record
    assert (record["tasks"], record["cost"], record["error"], record["stages"]) == ({}, {}, None, [])
    assert "training" not in record and "average" not in record and error_type(record) is None
    summary = read_record(tmp_path / "bare.json", summary=True).record
    assert not set(summary) & set(HEAVY)


def test_warnings_must_be_a_list(tmp_path: Path) -> None:
    noted = [{"code": "copies", "message": "12 passages are copies", "task": None}]
    assert read_record(write_record(tmp_path, make_record(extra={"warnings": noted}))).record["warnings"] == noted
    with pytest.raises(ValueError, match="warnings is not a list"):
        write_record(tmp_path, make_record(extra={"warnings": {"code": "copies"}}))


def test_baselines_are_names_that_no_optimizer_has() -> None:
    assert not set(BASELINES) & set(entries("optimizer"))
    assert optimizer_params({**make_spec("bm25"), "optimizer": {"name": "bm25"}}) == {}
