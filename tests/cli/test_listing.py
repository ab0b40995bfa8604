"""What ``ls`` and ``info`` say of runs, settings and profiles."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from synthetic_records import make_record, write_all

from mtbench.cli.main import main


def names(text: str) -> list[str]:
    return [line.split()[0] for line in text.splitlines()]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    records = [
        make_record("naive", 0, extra={"finished": "2026-03-02T10:00:00+00:00"}),
        make_record("tsage", 0, gain=0.2, extra={"finished": "2026-03-01T10:00:00+00:00"}),
        make_record("uw", 0, gain=-0.2, extra={"finished": "2026-03-03T10:00:00+00:00"}),
        make_record("cgd", 0, status="failed"),
    ]
    return write_all(tmp_path / "results", records)


def test_runs_are_filtered_and_ordered(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def listed(*words: str) -> list[str]:
        assert main(["ls", "runs", "--results", str(results), *words]) == 0
        return [name.split("-")[0] for name in names(capsys.readouterr().out)]

    assert listed() == ["cgd", "naive", "tsage", "uw"]
    assert listed("--sort", "date") == ["cgd", "tsage", "naive", "uw"]
    assert listed("--sort", "score")[-2:] == ["naive", "tsage"]
    assert listed("--optimizer", "uw") == ["uw"] and listed("--status", "failed") == ["cgd"]
    assert listed("--suite", "toy", "--status", "complete") == ["naive", "tsage", "uw"]
    assert main(["ls", "runs", "--results", str(results), "--suite", "other"]) == 0
    said = capsys.readouterr()
    assert said.out == "" and "no runs" in said.err
    assert main(["ls", "runs", "--sort", "age"]) == 2 and "choose name, date, score" in capsys.readouterr().err
    assert main(["ls", "runs", "--status", "done"]) == 2


def test_a_profile_tells_what_it_says_with_what_it_extends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "dpr", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["kind"] == "profile" and found["extends"] == ["paper"] and "Maillard" in found["description"]
    assert {"train.mixing = union", "data.prompt = none", "search.depth = 200"} <= set(found["settings"])
    mine = tmp_path / "mine.toml"
    mine.write_text(
        '# Of my own.\nextends = "mini"\n[train]\nsteps = 7\n[optimizer.tsage]\nbeta = 0.5\n', encoding="utf-8"
    )
    assert main(["info", str(mine)]) == 0
    told = capsys.readouterr().out
    assert "Of my own." in told and "train.steps = 7" in told and "tsage.beta = 0.5" in told
    assert "train.batch_size = 64" in told
    assert main(["info", "minni"]) == 2 and "Did you mean 'mini'" in capsys.readouterr().err


def test_settings_as_a_profile_has_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", "settings", "--profile", "paper"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "paper: 960; default 64" in lines["train.batch_size"] and "paper:" not in lines["bm25.k1"]
    assert main(["ls", "settings", "--profile", "papre"]) == 2


def test_the_only_suite_with_records_is_meant(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["leaderboard", "--results", str(results), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["suite"].startswith("toy")
    assert main(["compare", "tsage", "naive", "--results", str(results), "--json"]) == 0
    assert "tsage" in capsys.readouterr().out
    write_all(results, [make_record("naive", 0, suite="other")])
    assert main(["leaderboard", "--results", str(results)]) != 0
    assert "kilt" in capsys.readouterr().err  # of several the usual one, which is not there


def test_records_of_failed_runs_can_be_deleted_and_no_others(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(path.name for path in results.rglob("*.json"))
    assert main(["clean", "--records", "failed", "--results", str(results), "--dry-run"]) == 0
    assert "would delete 1 records of failed runs\n  cgd-s0-" in capsys.readouterr().out
    assert sorted(path.name for path in results.rglob("*.json")) == before
    assert main(["clean", "--records", "failed", "--results", str(results)]) == 0
    left = sorted(path.name for path in results.rglob("*.json"))
    assert left == [name for name in before if not name.startswith("cgd")]
    assert main(["clean", "--records", "complete", "--results", str(results)]) == 2
    assert main(["clean", "--records", "failed", "--all", "--results", str(results)]) == 2
