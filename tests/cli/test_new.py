"""mtbench new: the file it writes and the command it names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mtbench.cli.main import main


def test_an_optimizer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "optimizer", "brand_new", "--dir", str(tmp_path), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    file = tmp_path / "brand_new.py"
    assert result == {"file": str(file), "next": f"mtbench check optimizer --file {file}"}
    assert file.is_file()
    assert main(["new", "optimizer", "brand_new", "--dir", str(tmp_path)]) == 2
    assert main(["new", "optimizer", "Bad Name", "--dir", str(tmp_path)]) == 2
    for taken in ("tsage", "bm25", "untrained"):
        assert main(["new", "optimizer", taken, "--dir", str(tmp_path)]) == 2
    capsys.readouterr()
    assert main(["new", "suite", "kilt", "--dir", str(tmp_path)]) == 2
    assert "a suite called 'kilt' exists already" in capsys.readouterr().err
    assert not (tmp_path / "kilt").exists()


def beir(folder: Path) -> Path:
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text('{"_id": "p1", "title": "T", "text": "x"}\n')
    (folder / "queries.jsonl").write_text('{"_id": "q1", "text": "x"}\n{"_id": "q2", "text": "y"}\n')
    for split, query in (("train", "q1"), ("dev", "q2")):
        (folder / "qrels" / f"{split}.tsv").write_text(f"query-id\tcorpus-id\tscore\n{query}\tp1\t1\n")
    return folder


def test_a_suite_over_several_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = beir(tmp_path / "one"), beir(tmp_path / "two")
    arguments = ["--from-beir", str(one), str(two), "--dir", str(tmp_path), "--json"]
    assert main(["new", "suite", "mine", *arguments]) == 0
    result = json.loads(capsys.readouterr().out)
    file = tmp_path / "mine" / "suite.toml"
    assert result == {"file": str(file), "next": f"mtbench check suite {file.parent}"}
    for folder in ("one", "two"):
        assert folder in file.read_text(encoding="utf-8")
