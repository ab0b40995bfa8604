"""psgs_w100 and the knowledge source."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from mtbench.data.reading import iter_passages, locate_passage
from mtbench.data.types import Notes, Passage
from mtbench.data.wikipedia import iter_knowledge
from mtbench.errors import DataError
from mtbench.suite import Corpus, Suite

HEADER = "id\ttext\ttitle\twikipedia_id\tstart_paragraph_id\tend_paragraph_id\n"
ROWS = (
    '0\t"Alpha is ""the"" first\tone"\tAlpha\t290\t1\t2\n'
    '1\tplain "quote" inside\tAlpha\t290\t3\t3\n'
    "2\tBeta.\tBeta\t17\t1\t1\n"
)


def suite_of(folder: Path, path: str, format: str = "psgs_w100", **options: object) -> tuple[Suite, Corpus]:
    corpus = Corpus("wikipedia", path, format, options=options)
    return Suite("w", 1, "recall@100", (corpus,), (), folder), corpus


def read(folder: Path, content: str | bytes, notes: Notes | None = None) -> list[Passage]:
    (folder / "psgs_w100.tsv").write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(iter_passages(*suite_of(folder, "psgs_w100.tsv"), notes))


def test_six_columns_with_quotes(tmp_path: Path) -> None:
    assert [(p.id, p.title, p.text, p.page) for p in read(tmp_path, HEADER + ROWS)] == [
        ("0", "Alpha", 'Alpha is "the" first\tone', "290"),
        ("1", "Alpha", 'plain "quote" inside', "290"),
        ("2", "Beta", "Beta.", "17"),
    ]


def test_gzip_crlf_and_no_final_newline(tmp_path: Path) -> None:
    plain = read(tmp_path, HEADER + ROWS)
    assert read(tmp_path, gzip.compress((HEADER + ROWS).rstrip("\n").replace("\n", "\r\n").encode())) == plain


def test_a_newline_inside_quotes_keeps_the_line_numbers(tmp_path: Path) -> None:
    read(tmp_path, HEADER + '0\t"two\nlines"\tA\t1\t1\t1\n1\tx\tB\t2\t1\t1\n')
    suite, corpus = suite_of(tmp_path, "psgs_w100.tsv")
    assert next(iter_passages(suite, corpus)).text == "two\nlines"
    assert [locate_passage(suite, corpus, row)[1] for row in (0, 1)] == [2, 4]


def test_three_columns_without_a_final_newline(tmp_path: Path) -> None:
    rows = '0\tThe text of a passage\tTitle of the page\n1\t"a ""word"""\tOther'
    assert [(p.id, p.title, p.text, p.page) for p in read(tmp_path, "id\ttext\ttitle\n" + rows)] == [
        ("0", "Title of the page", "The text of a passage", "0"),
        ("1", "Other", 'a "word"', "1"),
    ]


def test_the_three_column_shape(shared_data: Path) -> None:
    suite, corpus = suite_of(shared_data / "formats" / "shape_only", "psgs_w100.tsv")
    (passage,) = iter_passages(suite, corpus)
    assert (passage.id, passage.title, passage.page) == ("0", "Title of the article", "0")
    assert passage.text == "This is the text of a dummy passage"


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (ROWS, 1, "the header 'id text title"),
        ("", 1, "the header"),
        (HEADER + "0\ta\tA\t1\t1\t1\n2\tb\tB\t1\t1\t1\n", 3, "expected id 1, found '2'"),
        (HEADER + "1\ta\tA\t1\t1\t1\n", 2, "expected id 0"),
        (HEADER + "0\ta\tA\t1\t1\t1\n0\tb\tB\t1\t1\t1\n", 3, "expected id 1, found '0'"),
        (HEADER + "0\ta\tA\t1\t1\t1\n1\tb\tB\n", 3, "expected 6 columns, found 3"),
        (HEADER + "0\ta\tA\t1\t1\t1\n1\tb\tB\t1\t1\t1\t9\n", 3, "expected 6 columns, found 7"),
        (HEADER + "0\ta\n", 2, "expected 3 columns, found 2"),
        (HEADER + "0\ta\0b\tA\t1\t1\t1\n", 2, "NUL"),
        ((HEADER + "0\ta\tA\t1\t1\t1\n1\t").encode() + b"\xff\tB\t1\t1\t1\n", 3, "not UTF-8"),
        (
            HEADER + '0\t"opened and not closed\tA\t1\t1\t1\n' + "1\tword word\tB\t2\t1\t1\n" * 60_000,
            2,
            "quote that is opened and not closed",
        ),
    ],
)
def test_broken_rows_name_their_line(tmp_path: Path, content: str | bytes, line: int, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path, content)
    assert (caught.value.path, caught.value.line) == (tmp_path / "psgs_w100.tsv", line)


def test_one_wrong_line_in_many(tmp_path: Path) -> None:
    rows = [f"{i}\ttext\tT\t{i // 3}\t1\t1\n" for i in range(100_000)]
    rows[77_777] = "77777\ttext\tT\t1\t1\n"
    with pytest.raises(DataError, match=r"psgs_w100\.tsv:77779: expected 6 columns, found 5"):
        read(tmp_path, HEADER + "".join(rows))


def test_empty_passages_are_noted(tmp_path: Path) -> None:
    notes = Notes()
    assert len(read(tmp_path, HEADER + "0\t\tA\t1\t1\t1\n", notes)) == 1
    assert notes.counts == {"empty passages": 1}


class TestKnowledgeSource:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        text = ["Alpha\n", "Alpha is " + "word " * 7, "Section::::History.\n", "BULLET::::- item one\n"]
        pages = [
            {"_id": "290", "wikipedia_id": "290", "wikipedia_title": "Alpha", "text": text, "anchors": []},
            {"wikipedia_id": 7, "wikipedia_title": "Beta", "text": ["Beta\n"]},
        ]
        (tmp_path / "kilt_knowledgesource.json").write_text("".join(json.dumps(page) + "\n" for page in pages))
        return tmp_path / "kilt_knowledgesource.json"

    def test_pages(self, path: Path) -> None:
        pages = [page for _, page in iter_knowledge(path)]
        assert [(page.id, page.title, len(page.paragraphs)) for page in pages] == [
            ("290", "Alpha", 4),
            ("7", "Beta", 1),
        ]

    def test_as_passages_of_some_words(self, path: Path) -> None:
        notes = Notes()
        suite, corpus = suite_of(path.parent, path.name, "kilt_knowledge", words=5)
        passages = list(iter_passages(suite, corpus, notes))
        assert [(p.id, p.title, p.page) for p in passages] == [
            ("290-0", "Alpha", "290"),
            ("290-1", "Alpha", "290"),
            ("290-2", "Alpha", "290"),
        ]
        assert passages[0].text == "Alpha is word word word" and passages[2].text == "one"
        assert notes.counts == {"pages without text": 1}

    def test_a_page_without_paragraphs(self, path: Path) -> None:
        path.write_text('{"wikipedia_id": "1", "wikipedia_title": "A", "text": "plain"}\n')
        with pytest.raises(DataError, match="'text' must be a list of paragraphs"):
            list(iter_knowledge(path))

    def test_a_record_of_empty_values(self, path: Path) -> None:
        """The shape of a record as projects print it, where every value is empty."""
        nothing = {"description": "", "wikidata_id": "", "aliases": []}
        record = {"_id": "", "wikipedia_id": "", "wikipedia_title": "", "text": [], "anchors": [], "categories": ""}
        path.write_text(json.dumps({**record, "wikidata_info": nothing, "history": {"pageid": 0, "pre_dump": True}}))
        with pytest.raises(DataError, match="'wikipedia_id' must be a non-empty string") as caught:
            list(iter_knowledge(path))
        assert caught.value.line == 1

    def test_the_shape_of_the_real_record(self, shared_data: Path) -> None:
        path = shared_data / "formats" / "shape_only" / "kilt_knowledgesource_record.json"
        with pytest.raises(
            DataError, match="'wikipedia_id' must be a non-empty string"
        ):  # a shape: every value is empty
            list(iter_knowledge(path))
