"""MS MARCO's tab-separated files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mtbench.data.reading import iter_passages, read_task
from mtbench.data.types import Notes
from mtbench.errors import DataError
from mtbench.suite import Corpus, Suite, Task

COLLECTION = "0\tThe first passage\n1\tThe second\n2\t \n"


def suite_of(folder: Path, **options: Any) -> Suite:
    corpus = Corpus("c", "collection.tsv", "msmarco", options=options)
    task = Task(
        "m", "c", "queries.train.tsv", "qrels.train.tsv", "qrels.dev.tsv", format="msmarco",
        options={"dev_queries_file": "queries.dev.tsv"},
    )  # fmt: skip
    return Suite("s", 1, "recall@100", (corpus,), (task,), folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in {
        "collection.tsv": COLLECTION,
        "queries.train.tsv": "11\twhat is one\n12\tunused\n",
        "queries.dev.tsv": "21\twhat is two\n",
        "qrels.train.tsv": "11\t0\t0\t1\n11\t0\t2\t1\n12\t0\t1\t0\n",
        "qrels.dev.tsv": "21 0 1 1\r\n",
        "titles.txt": "0\tFirst\n1\t-\n",
    }.items():
        (tmp_path / name).write_text(text, newline="")
    return tmp_path


def test_passages_with_titles_where_there_are(folder: Path) -> None:
    notes = Notes()
    plain, titled = suite_of(folder), suite_of(folder, titles_file="titles.txt")
    assert [p.title for p in iter_passages(plain, plain.corpora[0])] == ["", "", ""]
    found = list(iter_passages(titled, titled.corpora[0], notes))
    assert [(p.id, p.title, p.page) for p in found] == [("0", "First", "0"), ("1", "", "1"), ("2", "", "2")]
    assert notes.counts == {"empty passages": 1}


def test_judged_queries_of_both_splits(folder: Path) -> None:
    suite = suite_of(folder)
    data = read_task(suite, suite.tasks[0])
    assert (data.train.ids, data.train.texts, data.train.positives) == (["11"], ["what is one"], [{"0": 1, "2": 1}])
    assert (data.dev.ids, data.dev.texts, data.dev.positives) == (["21"], ["what is two"], [{"1": 1}])


@pytest.mark.parametrize(
    ("name", "content", "place", "message"),
    [
        ("collection.tsv", "0\ta\n1 b\n", "collection.tsv:2", "expected 2 tab-separated columns, found 1"),
        ("collection.tsv", "0\ta\n1\tb\tc\n", "collection.tsv:2", "found 3"),
        ("titles.txt", "1\tB\n0\tA\n", "titles.txt:2", "another passage or none"),
        ("queries.train.tsv", "1\ta\n1\tb\n", "queries.train.tsv:2", "query id '1' occurs twice"),
        ("queries.train.tsv", "", "queries.train.tsv", "no query"),
        ("qrels.train.tsv", "99\t0\t1\t1\n", "qrels.train.tsv:1", "judges query '99'"),
        ("qrels.train.tsv", "11\t0\t1\n", "qrels.train.tsv:1", "4 columns"),
        ("qrels.train.tsv", "11\t0\t1\tyes\n", "qrels.train.tsv:1", "relevance must be a whole number"),
        ("qrels.train.tsv", "11\t0\t1\t0\n", "qrels.train.tsv", "no relevant passage"),
    ],
)
def test_mistakes_name_their_line(folder: Path, name: str, content: str, place: str, message: str) -> None:
    (folder / name).write_text(content)
    suite = suite_of(folder, titles_file="titles.txt")
    with pytest.raises(DataError, match=message) as caught:
        list(iter_passages(suite, suite.corpora[0]))
        read_task(suite, suite.tasks[0])
    assert str(caught.value).startswith(f"{folder / place}: ")


def test_dev_queries_judged_irrelevant_stay_and_train_queries_go(folder: Path) -> None:
    (folder / "queries.dev.tsv").write_text("21\twhat is two\n22\twhat is three\n")
    (folder / "qrels.dev.tsv").write_text("22 0 0 0\n21 0 1 1\n")
    data = read_task(suite_of(folder), suite_of(folder).tasks[0])
    assert data.train.ids == ["11"] and data.train.judged is None
    assert (data.dev.ids, data.dev.positives, data.dev.judged) == (["22", "21"], [{}, {"1": 1}], [True, True])


@pytest.mark.parametrize("name", ["collection.tsv", "queries.train.tsv"])
def test_ids_with_a_line_end_are_refused(folder: Path, name: str) -> None:
    (folder / name).write_text("1\x0b1\ttext\n")
    suite = suite_of(folder)
    with pytest.raises(DataError, match=rf"{name}:1: the id .* has a tab or a line end"):
        list(iter_passages(suite, suite.corpora[0])) if name == "collection.tsv" else read_task(suite, suite.tasks[0])
