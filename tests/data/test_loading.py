"""Suites by name: generated once, found after prepare, told apart by content."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mtbench.data.loading import data_profile, generate_raw, load_suite, suite_fingerprint, suite_folder
from mtbench.data.prepared import PreparedSuite
from mtbench.data.preparing import PrepareOptions, build_prepared
from mtbench.data.reading import iter_passages
from mtbench.errors import ConfigError, DataError, UnknownNameError
from mtbench.registry import get_suite

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which both generated suites stand."""
    folder = tmp_path_factory.mktemp("home")
    for name in ("kilt", "mixed"):
        load_suite(name, "mini", home=folder)
    return folder


def test_mini_is_generated_once(home: Path) -> None:
    suite = load_suite("kilt", "mini", home=home)
    before = {path: path.stat().st_mtime_ns for path in suite.root.rglob("*")}
    assert load_suite("kilt", "mini", home=home) == suite and suite.root.is_relative_to(home / "raw")
    assert {path: path.stat().st_mtime_ns for path in suite.root.rglob("*")} == before
    assert not [path for path in (home / "raw").iterdir() if path.name.startswith(".")]


def test_a_killed_generator_leaves_nothing_that_looks_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(folder: Path, seed: int) -> None:
        (folder / "psgs_w100.tsv").write_text("id\n")
        raise KeyboardInterrupt

    monkeypatch.setattr("mtbench.worlds.kilt_mini.generate", killed)
    with pytest.raises(KeyboardInterrupt):
        load_suite("kilt", "mini", home=tmp_path)
    monkeypatch.undo()
    suite = load_suite("kilt", "mini", home=tmp_path)
    assert sum(1 for _ in iter_passages(suite, suite.corpora[0])) == 900


def test_two_processes_that_generate_at_once(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    definition = get_suite("kilt")
    whole = generate_raw(definition, home)

    def slow(folder: Path, seed: int) -> None:
        shutil.copytree(whole, folder, dirs_exist_ok=True)
        shutil.copytree(whole, tmp_path / "raw" / whole.name)  # the other process was faster

    monkeypatch.setattr("mtbench.worlds.kilt_mini.generate", slow)
    assert generate_raw(definition, tmp_path) == tmp_path / "raw" / whole.name
    assert [path.name for path in (tmp_path / "raw").iterdir()] == [whole.name]


def test_paper_says_which_command_makes_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="mtbench prepare kilt --profile paper"):
        load_suite("kilt", "paper", home=tmp_path)
    with pytest.raises(DataError, match=r"psgs_w100\.tsv: .*not found"):
        load_suite("kilt", "paper", raw=tmp_path, home=tmp_path)


def test_unknown_names() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'kilt'"):
        load_suite("kild", "mini")


def test_which_data_a_profile_uses(tmp_path: Path) -> None:
    definition = get_suite("kilt")
    mine = tmp_path / "mine.toml"
    mine.write_text('extends = "mini"\n')
    assert [data_profile(p, definition) for p in ("mini", "paper", "taco-code", str(mine))] == [
        "mini",
        "paper",
        "paper",
        "mini",
    ]
    with pytest.raises(ConfigError, match="no profile 'absent'"):
        data_profile("absent", definition)


def test_a_folder_that_is_called_like_a_suite_changes_nothing(
    small_suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(small_suite, tmp_path / "kilt")
    shutil.copytree(small_suite, tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    assert suite_folder("kilt") is None
    assert suite_folder("./kilt") == suite_folder(Path("kilt")) == Path("kilt")
    assert suite_folder("mine") == Path("mine")


def test_mini_files_can_be_given_as_raw(home: Path) -> None:
    root = load_suite("kilt", "mini", home=home).root
    assert load_suite("kilt", "paper", raw=root, home=home).root == root


class TestFingerprint:
    def test_it_is_a_function_of_content(self, small_suite: Path, tmp_path: Path) -> None:
        home = tmp_path / "home"
        first = suite_fingerprint(load_suite(small_suite, "mini"), home)
        moved = tmp_path / "elsewhere"
        shutil.copytree(small_suite, moved)
        assert suite_fingerprint(load_suite(moved, "mini"), home) == first and len(first) == 64
        queries = moved / "queries.jsonl"
        queries.write_text(queries.read_text().replace("question 0", "question X"))
        assert suite_fingerprint(load_suite(moved, "mini"), home) != first

    def test_the_declaration_counts(self, small_suite: Path, tmp_path: Path) -> None:
        first = suite_fingerprint(load_suite(small_suite, "mini"), tmp_path)
        toml = small_suite / "suite.toml"
        toml.write_text(toml.read_text().replace("version = 1", "version = 2"))
        assert suite_fingerprint(load_suite(small_suite, "mini"), tmp_path) != first

    def test_what_only_people_read_does_not_count(self, small_suite: Path, tmp_path: Path) -> None:
        suite = load_suite(small_suite, "mini")
        tasks = tuple(replace(task, title="Another title") for task in suite.tasks)
        same = replace(suite, title="Corrected", licences={"text": "CC0"}, sources={"text": "me"}, tasks=tasks)
        assert suite_fingerprint(same, tmp_path) == suite_fingerprint(suite, tmp_path)
        other = replace(suite, tasks=tuple(replace(task, query_max_length=7) for task in suite.tasks))
        assert suite_fingerprint(other, tmp_path) != suite_fingerprint(suite, tmp_path)

    def test_files_are_hashed_once(self, small_suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        suite = load_suite(small_suite, "mini")
        first = suite_fingerprint(suite, tmp_path)
        monkeypatch.setattr("mtbench.data.loading.file_digest", lambda path: pytest.fail(f"read {path} again"))
        assert suite_fingerprint(suite, tmp_path) == first
        monkeypatch.undo()
        os.utime(small_suite / "queries.jsonl", ns=(1, 1))
        assert suite_fingerprint(suite, tmp_path) == first


@pytest.mark.parametrize(("name", "tasks", "corpora"), [("kilt", 8, 1), ("mixed", 4, 5)])
def test_generated_suites_become_prepared(
    home: Path, tmp_path: Path, tokenizer: PreTrainedTokenizerFast, name: str, tasks: int, corpora: int
) -> None:
    suite = load_suite(name, "mini", home=home)
    build_prepared(suite, tmp_path / "out", tokenizer, PrepareOptions(limit=20))
    prepared = PreparedSuite.open(tmp_path / "out")
    assert (len(prepared.tasks), len(prepared.corpora)) == (tasks, corpora)
    for task in prepared.tasks.values():
        corpus = prepared.corpora[task.corpus]
        assert len(task.train) == len(task.dev) == 20
        assert all(len(task.train.positives(i)[0]) for i in range(20))
        assert all(corpus.lengths[row] > 0 for i in range(20) for row in task.train.positives(i)[0])


def test_entity_linking_trains_on_whole_pages(home: Path, tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    build_prepared(load_suite("kilt", "mini", home=home), tmp_path / "out", tokenizer, PrepareOptions(limit=30))
    prepared = PreparedSuite.open(tmp_path / "out")
    corpus, task = prepared.corpora["wikipedia"], prepared.tasks["aidayago2"]
    for i in range(30):
        rows, relevance = task.train.positives(i)
        pages = set(corpus.pages[rows].tolist())
        assert sorted(rows.tolist()) == [r for r in range(len(corpus)) if corpus.pages[r] in pages]
        assert len(relevance) == len(rows) == len(set(rows.tolist()))
        assert task.dev.positives(i)[0].size == 0 and task.dev.gold_pages(i)
