"""What people stumbled over: words as ``ls settings`` prints them, narrow terminals, folders in lists, ties."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from synthetic_records import family, write_all
from tiny_suite import SETTINGS, write_suite

import mtbench
from mtbench.cli.main import main
from mtbench.config import split_assignments
from mtbench.errors import UsageError
from mtbench.report.leaderboard import load_board

SET = [word for item in SETTINGS for word in ("--set", item)]


def test_none_is_a_word_where_it_is_one() -> None:
    settings, _ = split_assignments(["data.prompt=none", "train.steps=none", "bm25.stemmer=none"])
    assert settings == {"data": {"prompt": "none"}, "train": {"steps": None}, "bm25": {"stemmer": None}}


def test_prompt_none_runs(tmp_path: Path) -> None:
    suite = str(write_suite(tmp_path / "suite"))
    items = [*SETTINGS, "data.prompt=none"]
    places = {"store": tmp_path / "store", "results": tmp_path / "results"}
    (record,) = mtbench.run("naive", suite, set=items, baselines=(), **places)  # type: ignore[arg-type]
    assert record["status"] == "complete" and record["spec"]["config"]["data"]["prompt"] == "none"


@pytest.mark.parametrize("name", ["tsage", "kilt"])
def test_info_wraps_between_words(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert main(["info", name]) == 0
    narrow = capsys.readouterr().out
    long = [line for line in narrow.splitlines() if len(line) > 60 and " " in line.strip()]
    assert not long
    monkeypatch.setenv("COLUMNS", "1000")
    assert main(["info", name]) == 0
    assert narrow.split() == capsys.readouterr().out.split()


def test_ls_suites_shows_the_folders_that_check_suite_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_suite(tmp_path / "mine")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "suite.toml").write_text("name = ", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert main(["ls", "suites", "--json"]) == 0
    rows = {row["name"]: row["summary"] for row in json.loads(capsys.readouterr().out)["suites"]}
    assert rows["mine"] == "folder: suite 'tiny', 3 tasks" and "cannot be read" in rows["broken"]
    assert main(["check", "suite", "mine"]) == 0


def test_an_empty_leaderboard_names_what_there_is(tmp_path: Path) -> None:
    write_all(tmp_path, family(1))
    with pytest.raises(UsageError, match=r"There are runs of: toy@1 mini"):
        load_board(tmp_path, "toy", "paper")
    with pytest.raises(UsageError, match="Make some"):
        load_board(tmp_path / "nothing", "toy", "mini")


def test_a_sweep_that_ties_says_so_and_keeps_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A slice of four queries cannot tell temperatures of T-SAGE apart."""
    suite = str(write_suite(tmp_path / "suite"))
    places = ["--store", str(tmp_path / "store"), "--results", str(tmp_path / "results"), "--executor", "local"]
    words = ["sweep", "-o", "dwa", "-s", suite, "--grid", "temperature=1,2,4", *SET, *places]
    assert main([*words, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["tied"] == 3 and said["best"]["values"] == {"temperature": 2.0}
    assert main(words) == 0
    assert "3 settings tie" in " ".join(capsys.readouterr().out.split())


def test_a_frozen_task_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A task whose only query a step has no negative: its loss is 0, and so is its gradient, in every step."""
    from mtbench.pipeline.plan import Stage
    from mtbench.pipeline.warnings import _frozen_tasks
    from mtbench.storage.store import Built

    journal = [
        {"step": step, "gradient_norms": {"moves": 1.0, "frozen": 0.0, "late": 0.0 if step > 50 else 1.0}}
        for step in range(0, 140, 10)
    ]
    (tmp_path / "journal.json").write_text(json.dumps(journal), encoding="utf-8")
    summary = {"task_batch_sizes": {"moves": 1, "frozen": 1, "late": 1}, "report": {}}

    built: Built = SimpleNamespace(folder=tmp_path, results={"summary": summary})  # type: ignore[assignment]
    (warning,) = _frozen_tasks(Stage("train", 2, {}), built)
    assert warning["task"] == "frozen" and warning["code"] == "frozen-task" and "130 steps" in warning["message"]
