"""``new suite``: what it writes is a suite."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

import pytest

from mtbench.data.checks import check_suite
from mtbench.data.loading import load_suite
from mtbench.data.new_suite import scaffold_suite
from mtbench.errors import DataError, UsageError


def test_a_folder_in_beirs_layout(small_suite: Path, tmp_path: Path) -> None:
    path = scaffold_suite("mine", [small_suite], tmp_path / "out")
    assert path == tmp_path / "out" / "mine" / "suite.toml"
    suite = load_suite(path, "mini")
    assert (suite.label, suite.metric, [t.name for t in suite.tasks]) == ("mine@1", "recall@100", ["small"])
    assert not [check for check in check_suite(path) if not check.ok]
    assert "/" not in tomllib.loads(path.read_text())["corpus"]["small"]["path"].removeprefix("../../small/")


def test_folders_with_their_own_corpora(suites: Path, tmp_path: Path) -> None:
    folders = [suites / "crafts" / name for name in ("knots", "bread")]
    suite = load_suite(scaffold_suite("two", folders, tmp_path), "mini")
    assert [t.name for t in suite.tasks] == [c.name for c in suite.corpora] == ["knots", "bread"]
    assert suite.metric == "recall@100"


def test_folders_over_one_corpus_with_pages(suites: Path, tmp_path: Path) -> None:
    folders = [suites / "valley" / name for name in ("questions", "links")]
    path = scaffold_suite("two", folders, tmp_path)
    suite = load_suite(path, "mini")
    assert [c.name for c in suite.corpora] == ["valley"] and suite.metric == "rprecision_page"
    assert all(task.kilt_dev for task in suite.tasks)
    assert not [check for check in check_suite(path) if not check.ok]


def test_real_folders_with_their_own_corpora(shared_data: Path, tmp_path: Path) -> None:
    folders = [shared_data / "own" / name for name in ("scifact", "cranfield", "fm2")]
    suite = load_suite(scaffold_suite("three", folders, tmp_path), "mini")
    assert [t.name for t in suite.tasks] == [c.name for c in suite.corpora] == ["scifact", "cranfield", "fm2"]


def test_real_folders_over_one_corpus_with_pages(shared_data: Path, tmp_path: Path) -> None:
    folders = [shared_data / "wiki8" / name for name in ("nq", "el")]
    suite = load_suite(scaffold_suite("two", folders, tmp_path), "mini")
    assert [c.name for c in suite.corpora] == ["wiki8"] and suite.metric == "rprecision_page"
    assert all(task.kilt_dev for task in suite.tasks)


def test_test_judgements_serve_where_there_are_no_dev_ones(small_suite: Path, tmp_path: Path) -> None:
    (small_suite / "qrels" / "dev.tsv").rename(small_suite / "qrels" / "test.tsv")
    path = scaffold_suite("mine", [small_suite], tmp_path)
    assert load_suite(path, "mini").tasks[0].dev_qrels.endswith("test.tsv") and "no dev.tsv there" in path.read_text()


def test_names_that_need_quotes(small_suite: Path, tmp_path: Path) -> None:
    odd = small_suite.rename(tmp_path / 'a.b "c" ü')
    assert load_suite(scaffold_suite("x", [odd], tmp_path), "mini").tasks[0].name == "a.b--c---"


def test_without_folders_a_template_that_parses(tmp_path: Path) -> None:
    table = tomllib.loads(scaffold_suite("mine", [], tmp_path).read_text())
    assert table["name"] == "mine" and table["task"][0]["corpus"] in table["corpus"]


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl", "qrels/train.tsv", "qrels/dev.tsv"])
def test_what_a_folder_lacks_is_named(small_suite: Path, tmp_path: Path, name: str) -> None:
    (small_suite / name).unlink()
    with pytest.raises(DataError, match=r"no (corpus|queries|training judgements|dev judgements) here"):
        scaffold_suite("mine", [small_suite], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten(small_suite: Path, tmp_path: Path) -> None:
    path = scaffold_suite("mine", [small_suite], tmp_path)
    text = path.read_text()
    with pytest.raises(UsageError, match="exists already"):
        scaffold_suite("mine", [], tmp_path)
    assert path.read_text() == text
    with pytest.raises(UsageError, match="not a possible name"):
        scaffold_suite("../mine", [], tmp_path)


def test_two_folders_of_one_name(small_suite: Path, tmp_path: Path) -> None:
    shutil.copytree(small_suite, tmp_path / "other" / "small")
    with pytest.raises(UsageError, match="two folders are called 'small'"):
        scaffold_suite("mine", [small_suite, tmp_path / "other" / "small"], tmp_path)
