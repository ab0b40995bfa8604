"""suite.toml: what is wrong is said with file, line, key and remedy."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from small_suites import SUITE_TOML

from mtbench.data.loading import carried_settings, load_suite, suite_folder
from mtbench.data.suite_file import read_suite_folder
from mtbench.errors import ConfigError, DataError

SECOND = SUITE_TOML[SUITE_TOML.index("[[task]]") :]


def test_folders_of_several_tasks(suites: Path) -> None:
    valley, crafts = (read_suite_folder(suites / name) for name in ("valley", "crafts"))
    assert (valley.label, valley.metric) == ("valley@1", "rprecision_page")
    assert (crafts.label, crafts.metric) == ("crafts@1", "recall@100")
    assert [(len(suite.tasks), len(suite.corpora)) for suite in (valley, crafts)] == [(3, 1), (2, 2)]
    links = valley.task("links")
    assert (links.title, links.family, links.prompt, links.query_max_length) == (
        "Entity linking", "entity_linking", "AIDA", 128,
    )  # fmt: skip
    assert crafts.corpus("bread").passage_max_length == 256


def test_the_real_suites_are_read(shared_data: Path) -> None:
    wiki8, own = (read_suite_folder(shared_data / name) for name in ("wiki8", "own"))
    assert (wiki8.label, wiki8.metric, len(wiki8.tasks), len(wiki8.corpora)) == ("wiki8@1", "rprecision_page", 8, 1)
    assert (own.label, own.metric, len(own.tasks), len(own.corpora)) == ("own7@1", "recall@100", 7, 7)
    assert wiki8.task("el").prompt == "AIDA" and wiki8.task("el").query_max_length == 128
    assert own.corpus("fm2").passage_max_length == 256


def test_defaults(small_suite: Path) -> None:
    task = read_suite_folder(small_suite).task("first")
    assert (task.title, task.prompt, task.family, task.query_max_length) == ("first", "FIRST", "qa", 32)


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ('name = "small"', 'name = "sm all"', 1, "letters, digits"),
        ("version = 1", "version = 0", 2, "at least 1"),
        ("version = 1", 'version = "1"', 2, "of type int"),
        ("version = 1", "version = true", 2, "of type int"),
        ("version = 1\n", "", None, "version: missing"),
        ("recall@100", "recal@100", 3, "Did you mean 'recall@100'"),
        ("recall@100", "rprecision_page", 8, "needs the gold pages"),
        ('path = "corpus.jsonl"', 'paht = "corpus.jsonl"', 6, "Did you mean 'path'"),
        ('path = "corpus.jsonl"', 'path = ""', 6, "must not be empty"),
        ('path = "corpus.jsonl"', 'path = "c"\nformat = "beer"', 7, "Did you mean 'beir'"),
        ('path = "corpus.jsonl"', 'path = "c"\npassage_max_length = 0', 7, "at least 1"),
        ('corpus = "docs"', 'corpus = "doc"', 10, r"no \[corpus\.doc\]"),
        ('corpus = "docs"', 'corpus = "docs"\ndev_corpus = "d"', 11, r"no \[corpus\.d\]"),
        ('corpus = "docs"', 'corpus = "docs"\nfamily = "qu"', 11, "unknown value 'qu'"),
        ('corpus = "docs"', "corpus = 3", 10, "of type str"),
        ('queries = "queries.jsonl"\n', "", 8, "queries: missing"),
        ("version = 1", "version = ", 2, "not valid TOML"),
        (SECOND, SECOND + "\n" + SECOND, 16, "a second task is called 'first'"),
        (SECOND, "", None, "task: missing"),
        ('path = "corpus.jsonl"', 'path = "/data/corpus.jsonl"', 6, "relative to the suite's folder"),
        ('path = "corpus.jsonl"', 'path = "~/corpus.jsonl"', 6, "relative to the suite's folder"),
        ('path = "corpus.jsonl"', 'path = "c"\noptions.paths = 3', 7, "options.paths: must be of type list of str"),
        ('path = "corpus.jsonl"', 'path = "c"\noptions.paths = ["/x"]', 7, "relative to the suite's folder"),
        ('path = "corpus.jsonl"', 'path = "c"\noptions.titles_file = 3', 7, "options.titles_file: must be of type str"),
        ('path = "corpus.jsonl"', 'path = "c"\noptions.documents_files = [3]', 7, "must name a file, found 3"),
        ('path = "corpus.jsonl"', 'path = "c"\noptions.words = "x"', 7, "options.words: must be of type int"),
        ('path = "corpus.jsonl"', 'path = "c"\noptions.when = 2020-01-01', 7, "options.when: must be text, a number"),
        ('path = "corpus.jsonl"', 'path = "c"\npassage_max_length = 9999999999', 7, "longer than any text"),
        ('queries = "queries.jsonl"', 'queries = "C:\\\\q.jsonl"', 11, "relative to the suite's folder"),
        (SECOND, '[task]\nname = "x"', None, "task: must be of type list"),
    ],
)
def test_mistakes_are_named(small_suite: Path, old: str, new: str, line: int | None, message: str) -> None:
    path = small_suite / "suite.toml"
    assert old in SUITE_TOML
    path.write_text(SUITE_TOML.replace(old, new))
    with pytest.raises(DataError, match=message) as caught:
        load_suite(small_suite, "mini")
    assert caught.value.path == path
    if line is not None:
        assert caught.value.line == line
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl", "qrels/train.tsv", "qrels/dev.tsv"])
def test_a_missing_file_is_named(small_suite: Path, name: str) -> None:
    (small_suite / name).unlink()
    with pytest.raises(DataError, match="not found") as caught:
        load_suite(small_suite, "mini")
    assert caught.value.path == small_suite / name


def test_what_is_a_folder_and_what_a_name(small_suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(small_suite.parent)
    assert suite_folder("kilt") is None
    assert suite_folder("small") == Path("small")
    assert suite_folder("./small") == Path("small")
    assert suite_folder(str(small_suite / "suite.toml")) == small_suite
    (tmp_path / "kilt").mkdir()  # a folder without suite.toml does not hide a registered suite
    assert suite_folder("kilt") is None
    with pytest.raises(DataError, match="no such folder"):
        suite_folder("./absent")
    with pytest.raises(DataError, match=r"no suite\.toml"):
        load_suite("./kilt", "mini")


def test_beirs_rule_is_part_of_the_declaration_where_it_is_asked_for(small_suite: Path) -> None:
    plain = read_suite_folder(small_suite)
    assert "ignore_identical_ids" not in plain.determinants["tasks"][0]
    path = small_suite / "suite.toml"
    text = path.read_text()
    path.write_text(text + "ignore_identical_ids = false\n")
    assert read_suite_folder(small_suite).determinants == plain.determinants
    path.write_text(text + "ignore_identical_ids = true\n")
    assert read_suite_folder(small_suite).determinants["tasks"][0]["ignore_identical_ids"] is True
    path.write_text(text + 'ignore_identical_ids = "yes"\n')
    with pytest.raises(DataError, match="ignore_identical_ids: must be of type bool"):
        read_suite_folder(small_suite)


def test_sets_of_weights_have_names_and_decide_nothing(small_suite: Path) -> None:
    plain = read_suite_folder(small_suite)
    path = small_suite / "suite.toml"
    path.write_text(path.read_text() + "\n[weights.tuned]\nfirst = 2\n")
    suite = read_suite_folder(small_suite)
    assert suite.weights == {"tuned": {"first": 2}} and not plain.weights
    assert suite.determinants == plain.determinants


def test_settings_that_a_suite_carries_decide_nothing_about_its_data(small_suite: Path) -> None:
    plain = read_suite_folder(small_suite)
    path = small_suite / "suite.toml"
    path.write_text(path.read_text() + "\n[settings.train]\nsteps = 7\n")
    suite = read_suite_folder(small_suite)
    assert suite.settings == carried_settings(small_suite) == {"train": {"steps": 7}} and not plain.settings
    assert suite.determinants == plain.determinants
    assert carried_settings("mixed") == {}


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("[settings.train]\nstesp = 7", "suite.toml: settings: unknown setting 'train.stesp' (did you mean"),
        ("[settings.train]\nsteps = 0", "train.steps: Input should be greater than or equal to 1, got 0"),
        ("[settings]\ntrain = 7", "train = 7: expected a section, as [settings.train]"),
        ('[settings.encoder]\npath = "x"', "a suite does not choose the encoder"),
        ("[settings.optimizer]\ntsage = 7", "optimizer.tsage = 7: expected a table of hyperparameters"),
    ],
)
def test_settings_that_a_suite_carries_are_checked(small_suite: Path, lines: str, says: str) -> None:
    path = small_suite / "suite.toml"
    path.write_text(path.read_text() + f"\n{lines}\n")
    with pytest.raises(ConfigError, match=re.escape(says)):
        read_suite_folder(small_suite)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("[weights.tuned]\nfrist = 2", "frist: unknown value 'frist'\n  Did you mean 'first'?"),
        ("[weights.tuned]\nfirst = -1", "first: must be a number >= 0, found -1"),
        ("[weights.tuned]\nfirst = inf", "first: must be a number >= 0, found inf"),
        ('[weights.tuned]\nfirst = "2"', "first: must be a number >= 0, found '2'"),
        ("[weights.tuned]\nfirst = true", "first: must be a number >= 0, found True"),
        ("[weights.tuned]\nfirst = 0", "every task has 0"),
        ("[weights]\ntuned = 2", "must be a table of task = number"),
        ('[weights."a b"]\nfirst = 2', "letters, digits"),
    ],
)
def test_sets_of_weights_are_checked(small_suite: Path, lines: str, says: str) -> None:
    path = small_suite / "suite.toml"
    path.write_text(path.read_text() + f"\n{lines}\n")
    with pytest.raises(DataError, match=re.escape(says)) as caught:
        read_suite_folder(small_suite)
    assert caught.value.path == path and (caught.value.line is not None or "letters" in says)
