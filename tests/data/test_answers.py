"""Answers of both splits, all alternatives, and what is wrong with a file that has none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_kilt import write_kilt_suite

from mtbench.data.answers import has_answers, read_answers
from mtbench.data.suite_file import read_suite_folder
from mtbench.errors import DataError


def test_all_alternatives_of_both_splits(tmp_path: Path) -> None:
    folder = write_kilt_suite(tmp_path / "tiny")
    suite = read_suite_folder(folder)
    rows = json.loads((folder / "ask-train.json").read_text())
    rows[1]["answers"], rows[2]["answers"] = [" Oak ", "Oak", "the oak", " "], []
    (folder / "ask-train.json").write_text(json.dumps(rows))
    task = suite.task("ask")
    assert has_answers(task)
    found = read_answers(suite, task)
    assert found.train["1"] == ["Oak", "the oak"] and "2" not in found.train
    assert found.train["0"] == rows[0]["answers"]
    assert found.dev["ask-0"] == ["Birch", "birch"]
    assert len(found.dev) == 9


def test_a_file_without_answers_is_named(tmp_path: Path) -> None:
    folder = write_kilt_suite(tmp_path / "tiny")
    suite = read_suite_folder(folder)
    file = folder / "ask-dev-kilt.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    for line in lines:
        for output in line["output"]:
            output.pop("answer")
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(DataError, match="no query of the file has an answer"):
        read_answers(suite, suite.task("ask"))
    file.write_text(json.dumps({"id": 1, "input": "x", "output": [{"answer": 3}]}) + "\n")
    with pytest.raises(DataError, match="answers must be a list of texts"):
        read_answers(suite, suite.task("ask"))
