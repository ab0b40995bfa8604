"""Plans and costs before any download: what a suite declares stands in for its data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mtbench.cli.main import main


@pytest.fixture(autouse=True)
def _empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.mark.parametrize(("suite", "hours"), [("kilt", (40, 100)), ("mixed", (80, 250))])
def test_the_papers_run_is_planned_without_its_data(
    suite: str, hours: tuple[int, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "-o", "tsage", "-s", suite, "--profile", "paper", "--dry-run", "--json"]
    assert main(words) == 0
    plan = json.loads(capsys.readouterr().out)
    data, encoder = plan["missing"]
    assert f"mtbench prepare {suite} --profile paper" in data and "files" in data and "encoder t5-base" in encoder
    assert plan["stages_to_compute"] == plan["stages_distinct"] == 40
    estimate = plan["estimate"]
    assert hours[0] < estimate["gpu_hours"] < hours[1] and 20 < estimate["cpu_hours"] < 200
    assert estimate["store_bytes_per_model"] > 50e9
    assert not list(tmp_path.rglob("*.parquet")) and not (tmp_path / "home" / "stages").exists()


def test_what_is_not_here_is_said_with_its_command(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["sweep", "-o", "tsage", "-s", "kilt", "--profile", "paper", "--grid", "tau=1,2", "--dry-run"]
    assert main(words) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "not here: the data of suite kilt" in told and "run ids are others once the files are here" in told
    assert "core hours" in told


def test_without_data_nothing_but_a_plan_is_made(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "-o", "tsage", "-s", "kilt", "--profile", "paper"]) == 2
    assert "mtbench prepare kilt --profile paper" in capsys.readouterr().err
    assert main(["run", "-o", "tsage", "-s", "./nowhere", "--dry-run"]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_unread_suites_have_no_stage_in_common(capsys: pytest.CaptureFixture[str]) -> None:
    keys = []
    for suite in ("kilt", "mixed"):
        assert main(["run", "-o", "naive", "-s", suite, "--profile", "paper", "--dry-run", "--json"]) == 0
        runs = json.loads(capsys.readouterr().out)["runs"]
        keys.append({stage["fingerprint"] for run in runs for stage in run["stages"]})
    assert not keys[0] & keys[1]
