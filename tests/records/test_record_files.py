"""Records are written whole, named by their spec, and read for what they are."""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from synthetic_records import family, make_record, make_spec, write_all

from mtbench.records.files import load_records, read_record, write_record
from mtbench.records.identity import record_path, run_id
from mtbench.report.leaderboard import load_board

DATA = Path(__file__).parents[1] / "data" / "records"


def test_run_id_is_readable_and_a_pure_function_of_the_spec() -> None:
    spec = make_spec("tsage", 3, params={"tau": 2.0})
    again = json.loads(json.dumps(dict(reversed(spec.items()))))
    assert run_id(spec) == run_id(again)
    assert run_id(spec).startswith("tsage-s3-")
    assert len(run_id(spec).rpartition("-")[2]) == 12
    assert run_id(spec) == run_id(make_spec("tsage", 3, params={"tau": 2}))


def test_run_id_changes_with_everything_in_the_spec() -> None:
    specs = [
        make_spec(),
        make_spec(seed=1),
        make_spec("tsage"),
        make_spec(params={"tau": 3}),
        make_spec(config={"batch": 4}),
        make_spec(limit=10),
        make_spec(profile="paper"),
        make_spec(suite_fingerprint="0"),
    ]
    assert len({run_id(s) for s in specs}) == len(specs)


def test_run_id_is_the_same_today_as_when_it_was_published() -> None:
    """Committed results are found by it: a change here orphans them."""
    assert run_id(make_spec("naive", 0)) == json.loads((DATA / "run_id.json").read_text())["naive"]


def test_a_record_survives_the_disk_and_stands_in_its_place(tmp_path: Path) -> None:
    record = make_record("tsage", 2, extra={"history": [{"episode": 0, "average": 0.5}]})
    path = write_record(tmp_path, record)
    assert path == tmp_path / "runs" / "toy@1" / "mini" / "tsage" / f"{record['run_id']}.json"
    assert path == record_path(tmp_path, record["spec"])
    (loaded,) = load_records(tmp_path)
    assert (loaded.kind, loaded.problem, loaded.record) == ("ok", None, record)


def test_a_second_write_replaces_the_first_and_leaves_no_other_file(tmp_path: Path) -> None:
    write_record(tmp_path, make_record(status="running"))
    path = write_record(tmp_path, make_record())
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert load_records(tmp_path)[0].record["status"] == "complete"


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("spec", "suite_version"), "1"), (("spec", "suite_version"), None), (("spec", "config"), "x"),
        (("spec", "optimizer", "params"), 3), (("cost",), "x"), (("cost", "step_ms"), "fast"),
        (("cost", "step_ms"), 10**400), (("environment",), [1]), (("training",), "x"), (("average",), "high"),
        (("stages",), "x"), (("tasks", "nq", "metrics", "rprecision_page"), 10**400),
        (("tasks", "nq", "metrics", "rprecision_page"), [1]),
    ],
)  # fmt: skip
def test_a_record_of_wrong_types_is_left_out_and_the_others_count(
    place: tuple[str, ...], value: Any, tmp_path: Path
) -> None:
    write_all(tmp_path, family())
    record = make_record("tsage")
    path = write_record(tmp_path, record)
    inner: Any = record
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    path.write_text(json.dumps(record))
    problem = read_record(path).problem
    assert problem and ".".join(place[:3]) in problem.replace(" ", "")
    assert {r.optimizer for r in load_board(tmp_path, "toy", "mini").rows} == {"naive", "bm25", "untrained"}


@pytest.mark.parametrize("text", ["[" * 200_000, '{"schema": ' + "9" * 5000 + "}", '{"schema": 1, "cost": NaN'])
def test_what_json_readers_choke_on_is_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(text)
    assert "half-written or damaged" in str(read_record(tmp_path / "x.json").problem)
    os.mkfifo(tmp_path / "pipe.json")
    assert read_record(tmp_path / "pipe.json").problem  # and does not wait for a writer


def test_how_many_settings_were_tried_stays_when_a_run_is_computed_again(tmp_path: Path) -> None:
    record = make_record("tsage", extra={"tuning": {"trials": 7}})
    write_record(tmp_path, record)
    again = {k: v for k, v in record.items() if k != "tuning"}
    for status in ("running", "complete"):
        path = write_record(tmp_path, {**again, "status": status})
        assert read_record(path).record["tuning"] == {"trials": 7}


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_record(tmp_path, make_record())
    before = path.read_text()

    def no_space(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(OSError, match="no space"):
        write_record(tmp_path, make_record(status="failed"))
    assert path.read_text() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_numbers_that_json_lacks_become_null(tmp_path: Path) -> None:
    record = make_record(extra={"cost": {"step_ms": math.nan, "seconds": {"train": math.inf}}})
    text = write_record(tmp_path, record).read_text()
    assert json.loads(text, parse_constant=pytest.fail)["cost"] == {
        "step_ms": None,
        "seconds": {"train": None},
    }


def test_a_name_cannot_leave_its_folder(tmp_path: Path) -> None:
    path = write_record(tmp_path, make_record("../../evil", profile="a/b"))
    assert path.resolve().is_relative_to((tmp_path / "runs" / "toy@1").resolve())


def test_write_refuses_a_record_without_required_keys(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="status"):
        write_record(tmp_path, {**make_record(), "status": "done"})


def test_the_summary_has_everything_but_the_long_parts(tmp_path: Path) -> None:
    long = {"training": {"episodes": [{"losses": {"nq": [0.5] * 1000}}]}, "history": [], "analysis": {"a": 1}}
    path = write_record(tmp_path, make_record(extra=long))
    full, summary = read_record(path).record, read_record(path, summary=True).record
    assert full["training"] == long["training"]
    assert set(full) - set(summary) == {"training", "history", "analysis", "stages"}
    assert all(full[key] == value for key, value in summary.items())


def test_the_summary_reads_a_file_in_any_layout(tmp_path: Path) -> None:
    path = write_record(tmp_path, make_record())
    path.write_text(json.dumps(json.loads(path.read_text()), indent=4))
    assert read_record(path, summary=True).record["tasks"] == make_record()["tasks"]


@pytest.mark.parametrize("summary", [False, True])
def test_each_bad_file_is_named_for_what_it_is(tmp_path: Path, summary: bool) -> None:
    good = write_record(tmp_path, make_record("naive", 0))
    text = good.read_text()
    folder = good.parent
    (folder / "half.json").write_text(text[: len(text) // 2])
    (folder / "list.json").write_text("[1, 2]")
    (folder / "bytes.json").write_bytes(b"\xff\xfe\x00")
    newer = {**make_record("naive", 1), "schema": 99}
    (folder / "newer.json").write_text(json.dumps(newer))
    (folder / "nospec.json").write_text(json.dumps({"schema": 1, "status": "complete", "run_id": "x"}))
    write_record(tmp_path, make_record("naive", 2, tasks={"nq": 0.5}))
    loaded = {i.path.name: i for i in load_records(tmp_path, summary=summary)}
    kinds = {name: item.kind for name, item in loaded.items()}
    missing = run_id(make_spec("naive", 2)) + ".json"
    assert kinds == {
        good.name: "ok",
        "half.json": "unreadable",
        "list.json": "invalid",
        "bytes.json": "unreadable",
        "newer.json": "newer",
        "nospec.json": "invalid",
        missing: "incomplete",
    }
    assert "upgrade mtbench" in (loaded["newer.json"].problem or "")
    assert "half-written" in (loaded["half.json"].problem or "")
    assert "spec" in (loaded["nospec.json"].problem or "")


def test_a_duplicate_run_id_counts_once_and_the_file_in_its_place_wins(tmp_path: Path) -> None:
    path = write_record(tmp_path, make_record("tsage", 0))
    copy = path.with_name("a-copy-from-elsewhere.json")
    shutil.copy(path, copy)
    other = json.loads(path.read_text())
    other["tasks"]["nq"]["metrics"]["rprecision_page"] = 0.99
    conflicting = path.with_name("b-conflict.json")
    conflicting.write_text(json.dumps(other))
    loaded = {i.path: i for i in load_records(tmp_path)}
    assert loaded[path].kind == "ok"
    assert loaded[copy].kind == loaded[conflicting].kind == "duplicate"
    assert "the same results" in (loaded[copy].problem or "")
    assert "OTHER results" in (loaded[conflicting].problem or "")


def test_suite_and_profile_select(tmp_path: Path) -> None:
    for spec in ({}, {"suite_version": 2}, {"suite": "other"}, {"profile": "paper"}):
        write_record(tmp_path, make_record(**spec))
    assert len(load_records(tmp_path)) == 4
    assert len(load_records(tmp_path, suite="toy")) == 3
    assert len(load_records(tmp_path, suite="toy@2")) == 1
    assert len(load_records(tmp_path, suite="toy", profile="paper")) == 1
    assert load_records(tmp_path / "absent") == []


def test_a_record_of_the_first_schema_stays_readable() -> None:
    loaded = read_record(DATA / "record_v1.json")
    assert loaded.kind == "ok"
    assert loaded.record["tasks"]["nq"]["metrics"]["rprecision_page"] == pytest.approx(0.6123)
    assert loaded.record["run_id"] == run_id(loaded.record["spec"])


def test_records_of_a_suite_version_that_is_no_longer_planned_stay_readable() -> None:
    """Fifteen methods with five seeds and two baselines on version 1 of kilt mini keep their ids and their table."""
    found = load_records(DATA, suite="kilt@1", profile="mini")
    assert len(found) == 15 * 5 + 2 and {(item.kind, item.problem) for item in found} == {("ok", None)}
    assert all(run_id(item.record["spec"]) == item.record["run_id"] == item.path.stem for item in found)
    rows = {row.label: row.average for row in load_board(DATA, "kilt", "mini").rows}
    assert len(rows) == 17 and rows["tsage"].n == 5
    assert rows["naive"].mean == pytest.approx(0.7022, abs=5e-5)


def test_an_older_schema_is_upgraded_step_by_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = make_record()
    old.pop("status")
    path = tmp_path / "old.json"
    path.write_text(json.dumps({**old, "schema": -1, "state": "complete"}))

    def rename(record: dict) -> dict:
        return {**{k: v for k, v in record.items() if k != "state"}, "status": record["state"], "schema": 0}

    monkeypatch.setattr("mtbench.records.checking._UPGRADES", {-1: rename, 0: lambda record: {**record, "schema": 1}})
    assert read_record(path).record == make_record()
