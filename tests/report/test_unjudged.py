"""Test queries, which nobody here can score, are ranked as dev queries are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny_kilt
from tiny_suite import SETTINGS

import mtbench
from mtbench.errors import DataError, UsageError
from mtbench.report.export import export
from mtbench.storage.store import Store


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the tiny suite, whose test files are those of dev without their answers; ``claim`` has none."""
    folder = tmp_path_factory.mktemp("unjudged")
    suite = tiny_kilt.write_kilt_suite(folder / "tiny")
    places = {"store": folder / "store", "results": folder / "results", "baselines": ()}
    (before,) = mtbench.run("naive", suite, set=list(SETTINGS), **places)
    dev = [json.loads(line) for line in (suite / "ask-dev-kilt.jsonl").read_text("utf-8").splitlines()]
    lines = [json.dumps({"id": record["id"], "input": record["input"]}) + "\r\n" for record in dev]
    (suite / "ask-test.jsonl").write_text("".join(lines), encoding="utf-8", newline="")
    text = (suite / "suite.toml").read_text("utf-8")
    text = text.replace('kilt_dev = "ask-dev-kilt.jsonl"', 'kilt_dev = "ask-dev-kilt.jsonl"\ntest = "ask-test.jsonl"')
    (suite / "suite.toml").write_text(text, encoding="utf-8")
    (after,) = mtbench.run("naive", suite, set=list(SETTINGS), **places)
    assert after["run_id"] == before["run_id"]  # no run depends on them
    return folder


def exported(home: Path, form: str, split: str, suite: str | None = None) -> list[Path]:
    (run,) = (home / "results").rglob("naive-*.json")
    target = home / f"{form}-{split}"
    return export(
        str(run), form, target, results=home / "results", store=Store(home / "store"), split=split, suite=suite
    )


@pytest.mark.parametrize("form", ["kilt", "trec"])
def test_they_are_ranked_as_the_same_queries_of_dev(home: Path, form: str) -> None:
    (test,) = exported(home, form, "test", str(home / "tiny"))
    dev = next(path for path in exported(home, form, "dev") if path.name == test.name)
    assert test.read_bytes() == dev.read_bytes() and test.stat().st_size > 500


def test_what_is_missing_is_said(home: Path, tmp_path: Path) -> None:
    bare = tiny_kilt.write_kilt_suite(tmp_path / "bare")
    with pytest.raises(UsageError, match="no task of suite tinykilt@1 declares test queries"):
        exported(home, "kilt", "test", str(bare))
    with pytest.raises(UsageError, match="dev, or test with --format trec or kilt"):
        exported(home, "csv", "test")
    (home / "tiny" / "ask-test.jsonl").rename(home / "kept")
    with pytest.raises(DataError, match="test file of task 'ask'"):
        exported(home, "kilt", "test", str(home / "tiny"))
    (home / "kept").rename(home / "tiny" / "ask-test.jsonl")


def test_kilts_own_test_files_are_named_and_not_needed() -> None:
    from mtbench.registry import get_suite

    suite = get_suite("kilt")().suite(Path("raw"), "paper")
    assert suite.task("nq").test == "nq-test_without_answers-kilt.jsonl"
    assert suite.task("zsre").test == "structured_zeroshot-test_without_answers-kilt.jsonl"
    optional = {d.path for d in get_suite("kilt").downloads if d.optional}
    assert {task.test for task in suite.tasks} <= optional
    assert all("test" not in task for task in suite.determinants["tasks"])
