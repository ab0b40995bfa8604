"""Protocols run: what is shared, resumed, printed, and equal under both executors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_suite import SETTINGS, write_suite

import mtbench
from mtbench.cli.main import main
from mtbench.errors import UsageError
from mtbench.records.files import load_records

SET = [word for item in SETTINGS for word in ("--set", item)]
ALL = ["--protocol", "multitask,per-task,leave-one-out,few-shot", "--examples", "4,8"]


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_suite(tmp_path_factory.mktemp("suite") / "tiny")


def dry(capsys: pytest.CaptureFixture[str], suite: Path, home: Path, *words: str) -> dict[str, Any]:
    places = ["--store", str(home / "store"), "--results", str(home / "results")]
    assert main(["run", "-o", "naive,tsage", "-s", str(suite), *SET, *places, *words, "--dry-run", "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_optimizers_multiply_what_they_can_change(
    suite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = dry(capsys, suite, tmp_path, *ALL)
    labels = [run["label"] for run in plan["runs"]]
    assert labels[:5] == ["bm25 seed 0", "untrained seed 0", "naive seed 0", "tsage seed 0", "per-task: ask seed 0"]
    assert sum(label.startswith("per-task") for label in labels) == 3
    for optimizer in ("naive", "tsage"):
        assert sum(label.startswith(f"{optimizer}, leave-one-out:") for label in labels) == 3
        assert sum(label.startswith(f"{optimizer}, leave-one-out + 4") for label in labels) == 3
    assert len(labels) == len(set(labels)) == 4 + 3 + 6 + 12
    by_label = {run["label"]: run["stages"] for run in plan["runs"]}
    parent, leaf = by_label["tsage, leave-one-out: ask seed 0"], by_label["tsage, leave-one-out + 8: ask seed 0"]
    keys = [stage["fingerprint"] for stage in leaf]
    assert keys[: len(parent)] == [stage["fingerprint"] for stage in parent]
    assert [stage["name"] for stage in leaf[len(parent) :]] == ["train", "encode", "evaluate"]
    assert plan["stages_distinct"] == len({s["fingerprint"] for run in plan["runs"] for s in run["stages"]})


def test_one_tree_shows_what_is_shared_once(suite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = ["--store", str(tmp_path / "store"), "--results", str(tmp_path / "results")]
    words = [*ALL, "--tasks", "slot", "--dry-run"]
    assert main(["run", "-o", "naive", "-s", str(suite), *SET, *places, *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    place = next(i for i, line in enumerate(lines) if "naive, leave-one-out + 4: slot" in line)
    assert "prepare to evaluate 2: 13 stages as above" in lines[place + 1]
    assert ["train 3" in lines[place + 2], "evaluate 3" in lines[place + 4]] == [True, True]


def test_a_protocol_chooses_the_tasks_alone(suite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--protocol", "per-task", "--set", "train.tasks=ask"]
    assert main(["run", "-o", "naive", "-s", str(suite), *SET, *words, "--results", str(tmp_path)]) == 2
    assert "Use --tasks and --examples" in capsys.readouterr().err
    with pytest.raises(UsageError, match="can start from encoder, warmup"):
        mtbench.run("naive", suite, protocol="per-task", start="leave-one-out", results=tmp_path)


def figures(records: list[Any]) -> dict[str, Any]:
    return {r["run_id"]: {n: t["metrics"] for n, t in r["tasks"].items()} for r in records}


def test_runs_of_protocols_share_resume_and_are_equal_on_ray(
    suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MTBENCH_HOME", str(tmp_path / "home"))
    options: dict[str, Any] = {"set": list(SETTINGS), "store": tmp_path / "store", "results": tmp_path / "results"}
    options |= {"protocol": ["multitask", "per-task", "few-shot"], "tasks": ["ask", "slot"], "examples": 4}
    records = mtbench.run(["naive"], suite, start=["leave-one-out", "warmup"], **options)
    assert [r["status"] for r in records] == ["complete"] * 7
    computed = [s["fingerprint"] for r in records for s in r["stages"] if not s["reused"]]
    assert len(computed) == len(set(computed))
    assert sum(s["name"] == "bm25" and not s["reused"] for r in records for s in r["stages"]) == 1
    per_task = [r for r in records if r["spec"].get("protocol", {}).get("name") == "per-task"]
    warm = {s["fingerprint"] for r in [records[2], *per_task] for s in r["stages"] if s["name"] in ("warmup",)}
    assert len(warm) == 1 and all(r["spec"]["protocol"]["start"] == "warmup" for r in per_task)
    again = mtbench.run(["naive"], suite, start=["leave-one-out", "warmup"], **options)
    assert [r["finished"] for r in again] == [r["finished"] for r in records]
    words = ["--protocol", "multitask,per-task,few-shot", "--tasks", "ask,slot", "--examples", "4"]
    words += ["--start", "leave-one-out,warmup", "--executor", "ray", "--max-concurrent", "2"]
    places = ["--store", str(tmp_path / "ray-store"), "--results", str(tmp_path / "ray-results")]
    assert main(["run", "-o", "naive", "-s", str(suite), *SET, *places, *words]) == 0
    there = [item.record for item in load_records(tmp_path / "ray-results")]
    assert figures(there) == figures(records)
    assert all(item.problem is None for item in load_records(tmp_path / "results"))


def test_the_command_line_knows_the_protocols(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", "protocols", "--json"]) == 0
    names = [row["name"] for row in json.loads(capsys.readouterr().out)["protocols"]]
    assert names[:4] == ["multitask", "per-task", "leave-one-out", "few-shot"]
    assert main(["info", "few-shot", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["kind"] == "protocol" and facts["starts"] == ["leave-one-out", "encoder"]
    assert main(["info", "few-shots"]) == 2
    assert "few-shot" in capsys.readouterr().err


def test_the_dry_run_tells_what_protocols_cost_at_the_papers_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = ["--store", str(tmp_path / "store"), "--results", str(tmp_path / "results")]

    def told(*words: str) -> dict[str, Any]:
        assert main(["run", "-o", "naive", "-s", "kilt", *places, *words, "--dry-run", "--json"]) == 0
        found: dict[str, Any] = json.loads(capsys.readouterr().out)["estimate_paper"]
        return found

    whole, alone = told(), told("--protocol", "per-task")
    batch = told("--protocol", "per-task", "--set", "train.budget=batch")
    few = told("--protocol", "leave-one-out,few-shot", "--examples", "128,1024")
    fused = told("--protocol", "per-task,fused")
    # prepare, bm25 and evaluate of BM25, then two of the untrained encoder, then a run of warm-up and eight episodes
    run = 2 + 3 + 8 * 4
    assert whole["stages_total"] == 3 + 3 + run and whole["stages_distinct"] == run + 1 + 2
    assert alone["stages_distinct"] == 2 + 1 + 2 + 8 * (run - 2)
    assert few["stages_distinct"] == 2 + 1 + 2 + 8 * (run - 2) + 8 * 2 * 3
    assert fused["stages_distinct"] == alone["stages_distinct"] + 3
    assert whole["gpu_hours"] < alone["gpu_hours"] < batch["gpu_hours"]
    assert 0 < fused["gpu_hours"] - alone["gpu_hours"] < whole["gpu_hours"] / 8
