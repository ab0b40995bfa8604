"""BEIR's layout: real files with their quirks, and every break with file and line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from small_suites import QRELS_HEADER, write_jsonl

from mtbench.data.beir import iter_qrels, read_qrels, read_queries
from mtbench.data.reading import iter_passages, locate_passage, read_task
from mtbench.data.suite_file import read_suite_folder
from mtbench.data.types import Notes
from mtbench.errors import DataError

Corrupt = Callable[[str, bytes], Path]


def test_passages_and_their_pages(small_suite: Path) -> None:
    suite = read_suite_folder(small_suite)
    passages = list(iter_passages(suite, suite.corpora[0]))
    assert [(p.id, p.title, p.text, p.page) for p in passages[:2]] == [
        ("p0", "", "text number 0", "0"),
        ("p1", "Title 1", "text number 1", "0"),
    ]
    assert locate_passage(suite, suite.corpora[0], 2) == (small_suite / "corpus.jsonl", 3)


def test_a_passage_without_a_page_is_its_own(corrupt: Corrupt) -> None:
    lines = b'{"_id": 7, "text": "a"}\n{"_id": "8", "title": null, "text": "b", "metadata": null}\n'
    folder = corrupt("corpus.jsonl", lines)
    suite = read_suite_folder(folder)
    assert [(p.id, p.title, p.page) for p in iter_passages(suite, suite.corpora[0])] == [("7", "", "7"), ("8", "", "8")]


def test_empty_passages_are_noted_not_refused(corrupt: Corrupt) -> None:
    folder = corrupt("corpus.jsonl", '{"_id": "1", "text": "a"}\n{"_id": "2", "text": " \u200b"}\n'.encode())
    suite, notes = read_suite_folder(folder), Notes()
    assert len(list(iter_passages(suite, suite.corpora[0], notes))) == 2
    assert notes.sentences() == [f"1 empty passages (first: {folder / 'corpus.jsonl'}:2)"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"text": "x"}', "'_id' must be a non-empty string .* found missing"),
        (b'{"_id": "", "text": "x"}', "'_id' must be"),
        (b'{"_id": true, "text": "x"}', "'_id' must be"),
        (b'{"_id": "x"}', "'text' must be a string, found missing"),
        (b'{"_id": "x", "text": ["x"]}', "'text' must be a string, found list"),
        (b'{"_id": "x", "text": "x", "metadata": "y"}', "'metadata' must be an object"),
    ],
)
def test_a_wrong_passage_names_its_line(corrupt: Corrupt, line: bytes, message: str) -> None:
    suite = read_suite_folder(corrupt("corpus.jsonl", b'{"_id": "1", "text": "a"}\n' + line + b"\n"))
    with pytest.raises(DataError, match=message) as caught:
        list(iter_passages(suite, suite.corpora[0]))
    assert caught.value.line == 2


def test_judgements_become_positives(small_suite: Path) -> None:
    suite = read_suite_folder(small_suite)
    data = read_task(suite, suite.tasks[0])
    assert (data.train.ids, data.train.texts) == (["q0", "q1"], ["question 0", "question 1"])
    assert data.train.positives == [{"p1": 1}, {"p3": 1}]
    assert (data.dev.ids, data.dev.positives, data.dev.gold_pages) == (
        ["q2"],
        [{"p2": 1}],
        None,
    )  # a score of 0 is none


def test_train_queries_without_positive_are_left_out_and_counted(corrupt: Corrupt) -> None:
    suite, notes = (
        read_suite_folder(corrupt("qrels/train.tsv", (QRELS_HEADER + "q0\tp1\t0\nq1\tp3\t2\n").encode())),
        Notes(),
    )
    assert read_task(suite, suite.tasks[0], notes).train.positives == [{"p3": 2}]
    assert notes.counts == {"train queries without a relevant passage, left out": 1}


@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_line_ends_of_judgements(tmp_path: Path, end: str) -> None:
    path = tmp_path / "qrels.tsv"
    path.write_bytes(("query-id\tcorpus-id\tscore\r\n" + "q\td\t1" + end).encode())
    assert list(iter_qrels(path)) == [(2, "q", "d", 1)]


def test_columns_go_by_the_header(tmp_path: Path) -> None:
    path = tmp_path / "qrels.tsv"
    path.write_text("score\tquery-id\tcorpus-id\n1.0\tq\td e\n")
    assert list(iter_qrels(path)) == [(2, "q", "d e", 1)]


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        ("q0\tp1\t1\n", 1, "header 'query-id corpus-id score'"),
        ("q0 0 p1 1\n", 1, "TREC file"),
        ("", 1, "header"),
        (QRELS_HEADER, None, "no judgement"),
        (QRELS_HEADER + "q0\tp1\t1\nq0\tp1\n", 3, "expected 3 tab-separated columns, found 2"),
        (QRELS_HEADER + "q0 p1 1\n", 2, "expected 3 tab-separated columns, found 1"),
        (QRELS_HEADER + "q0\tp1\tyes\n", 2, "must be a whole number, found 'yes'"),
        (QRELS_HEADER + "q0\tp1\tinf\n", 2, "must be a whole number"),
        (QRELS_HEADER + "q0\tp1\t1\nq9\tp1\t1\n", 3, "judges query 'q9', which is not in queries.jsonl"),
        (QRELS_HEADER + "q0\tp1\t1\nq0\tp1\t0\n", 3, "twice, differently"),
    ],
)
def test_wrong_judgements_name_their_line(corrupt: Corrupt, content: str, line: int | None, message: str) -> None:
    suite = read_suite_folder(corrupt("qrels/train.tsv", content.encode()))
    with pytest.raises(DataError, match=message) as caught:
        read_task(suite, suite.tasks[0])
    assert (caught.value.path, caught.value.line) == (suite.root / "qrels/train.tsv", line)


def test_wrong_queries(corrupt: Corrupt) -> None:
    suite = read_suite_folder(corrupt("queries.jsonl", b'{"_id": "q0", "text": "a"}\n{"_id": "q0", "text": "b"}\n'))
    with pytest.raises(DataError, match=r"queries\.jsonl:2: query id 'q0' occurs twice"):
        read_task(suite, suite.tasks[0])
    corrupt("queries.jsonl", b"")
    with pytest.raises(DataError, match="no query"):
        read_task(suite, suite.tasks[0])


def test_no_relevant_train_query(corrupt: Corrupt) -> None:
    suite = read_suite_folder(corrupt("qrels/train.tsv", (QRELS_HEADER + "q0\tp1\t0\n").encode()))
    with pytest.raises(DataError, match="no train query with a relevant passage"):
        read_task(suite, suite.tasks[0])


class TestKiltDev:
    """Gold pages from a KILT file, aligned by id."""

    @pytest.fixture
    def folder(self, small_suite: Path) -> Path:
        toml = (small_suite / "suite.toml").read_text()
        (small_suite / "suite.toml").write_text(toml + 'kilt_dev = "kilt.jsonl"\n')
        return small_suite

    def test_pages_by_id_and_queries_without_judgements(self, folder: Path) -> None:
        write_jsonl(
            folder / "kilt.jsonl",
            [
                {"id": "q1", "input": "?", "output": [{"answer": "x"}, {"provenance": [{"wikipedia_id": 1}]}]},
                {
                    "id": "q2",
                    "output": [{"provenance": [{"wikipedia_id": "0"}, {"wikipedia_id": "0"}, {"wikipedia_id": None}]}],
                },
            ],
        )
        suite = read_suite_folder(folder)
        dev = read_task(suite, suite.tasks[0]).dev
        assert (dev.ids, dev.positives) == (["q2", "q1"], [{"p2": 1}, {}])
        assert dev.gold_pages == [[["0", "None"]], [["1"]]]

    @pytest.mark.parametrize(
        ("records", "message"),
        [
            ([{"id": "q2"}], r"kilt\.jsonl:1: has no 'output'"),
            ([{"id": "q1", "output": [{"answer": "x"}]}], "no record for query 'q2'"),
            ([{"id": "q2", "output": [{}]}, {"id": "zz", "output": [{}]}], r"kilt\.jsonl:2: query 'zz' is not in"),
            ([{"id": "q2", "output": [{}]}] * 2, r"kilt\.jsonl:2: id 'q2' occurs twice"),
            ([{"id": "q2", "output": "x"}], r"kilt\.jsonl:1: 'output' must be a list"),
            ([{"id": "q2", "output": ["x"]}], "must be an object"),
            ([{"id": "q2", "output": [{"provenance": "x"}]}], "must be a list of objects"),
            ([{"input": "x"}], "'id' must be"),
        ],
    )
    def test_mistakes(self, folder: Path, records: list[object], message: str) -> None:
        write_jsonl(folder / "kilt.jsonl", records)
        suite = read_suite_folder(folder)
        with pytest.raises(DataError, match=message):
            read_task(suite, suite.tasks[0])


class TestQuirks:
    """What files that are found on the internet have."""

    def test_crlf(self, tmp_path: Path) -> None:
        path = tmp_path / "test.tsv"
        path.write_bytes(b"query-id\tcorpus-id\tscore\r\n8\t566392\t1\r\n8\t65404\t1\r\n15\t325273\t0\r\n")
        assert list(iter_qrels(path)) == [(2, "8", "566392", 1), (3, "8", "65404", 1), (4, "15", "325273", 0)]

    def test_no_final_newline(self, tmp_path: Path) -> None:
        path = tmp_path / "test.tsv"
        path.write_text(QRELS_HEADER + "1\tTwo_words\t1\n2\tAnother_title\t1")
        assert list(iter_qrels(path))[-1] == (3, "2", "Another_title", 1)

    def test_objects_without_newlines(self, tmp_path: Path) -> None:
        path = tmp_path / "queries.jsonl"
        path.write_text('{"_id": "6", "text": "It rests in fog."}{"_id": "9", "text": "It\\u2019s slow"}', "utf-8")
        with pytest.raises(DataError, match="without newlines between them") as caught:
            read_queries(path)
        assert caught.value.line == 1 and "jq" in str(caught.value)

    def test_counts_of_suites(self, suites: Path) -> None:
        counts = {}
        for suite in map(read_suite_folder, (suites / "valley", suites / "crafts")):
            passages = {c.name: sum(1 for _ in iter_passages(suite, c)) for c in suite.corpora}
            for task in suite.tasks:
                data = read_task(suite, task)
                counts[task.name] = (passages[task.corpus], len(data.train), len(data.dev))
        assert counts == {
            "questions": (22, 6, 5),
            "steps": (22, 4, 4),
            "links": (22, 5, 4),
            "knots": (8, 5, 3),
            "bread": (9, 4, 4),
        }


class TestRealFiles:
    """The same in files from the internet."""

    @pytest.mark.parametrize(
        ("name", "rows", "last"),
        [("scifact/qrels/test.tsv", 339, None), ("fiqa/qrels/dev.tsv", 1238, None)],
    )
    def test_crlf(self, shared_data: Path, name: str, rows: int, last: None) -> None:
        found = list(iter_qrels(shared_data / "formats" / "beir_crlf" / name))
        assert len(found) == rows == len((shared_data / "formats" / "beir_crlf" / name).read_bytes().split()) // 3 - 1
        assert all(score == 1 and query.isdigit() and passage.isdigit() for _, query, passage, score in found)

    def test_no_final_newline(self, shared_data: Path) -> None:
        path = shared_data / "formats" / "malformed" / "qrels_test_no_final_newline.tsv"
        assert list(iter_qrels(path))[-1] == (4, "2", "Global_dimming", 1)

    def test_objects_without_newlines(self, shared_data: Path) -> None:
        path = shared_data / "formats" / "malformed" / "queries_no_newlines.jsonl"
        with pytest.raises(DataError, match="without newlines between them") as caught:
            read_queries(path)
        assert caught.value.line == 1 and "jq" in str(caught.value)

    @pytest.mark.parametrize(("group", "tasks"), [("wiki8", 8), ("own", 7)])
    def test_counts_of_the_table(self, shared_data: Path, group: str, tasks: int) -> None:
        suite = read_suite_folder(shared_data / group)
        table = [
            line.split("|")
            for line in (shared_data / "README.md").read_text().splitlines()
            if line.startswith(f"|{group}|")
        ]
        expected = {row[2]: (int(row[4]), int(row[5]), int(row[6])) for row in table}
        assert len(expected) == tasks
        passages = {c.name: sum(1 for _ in iter_passages(suite, c)) for c in suite.corpora}
        for task in suite.tasks:
            data = read_task(suite, task)
            assert (passages[task.corpus], len(data.train), len(data.dev)) == expected[task.name]


def test_unknown_queries_are_only_looked_up_in_their_file(tmp_path: Path) -> None:
    path = tmp_path / "qrels.tsv"
    path.write_text(QRELS_HEADER + "b\td\t1\na\te\t1\nb\tf\t2\n")
    assert read_qrels(path, {"a": "", "b": ""}, tmp_path / "q") == {"b": {"d": 1, "f": 2}, "a": {"e": 1}}


@pytest.mark.parametrize("bad", ["a\tb", "a\nb", "a\r", "\u2028a"])
@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl"])
def test_ids_that_end_a_column_or_a_line_are_refused(small_suite: Path, name: str, bad: str) -> None:
    path = small_suite / name
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], json.dumps({"_id": bad, "text": "x"}), *lines[1:]]) + "\n")
    suite = read_suite_folder(small_suite)
    with pytest.raises(DataError, match=rf"{name}:2: the id .* has a tab or a line end in it") as caught:
        list(iter_passages(suite, suite.corpora[0])) if name == "corpus.jsonl" else read_task(suite, suite.tasks[0])
    assert caught.value.line == 2


def test_queries_judged_irrelevant_are_told_from_those_that_are_not_judged(small_suite: Path) -> None:
    (small_suite / "qrels" / "dev.tsv").write_text(QRELS_HEADER + "q2\tp2\t1\nq1\tp0\t0\nq1\tp1\t-2\n")
    dev = read_task(suite := read_suite_folder(small_suite), suite.tasks[0]).dev
    assert dev.judged == dev.which_judged == [True, True] and dev.num_zero_judged == 1
    assert dev.first(1).judged == [True]
    kilt = [{"id": name, "output": [{"provenance": [{"wikipedia_id": 0}]}]} for name in ("q2", "q1", "q0")]
    (small_suite / "kilt.jsonl").write_text("".join(json.dumps(record) + "\n" for record in kilt))
    toml = small_suite / "suite.toml"
    toml.write_text(toml.read_text() + 'kilt_dev = "kilt.jsonl"\n')
    dev = read_task(suite := read_suite_folder(small_suite), suite.tasks[0]).dev
    assert (dev.ids, dev.judged) == (["q2", "q1", "q0"], [True, True, False])
