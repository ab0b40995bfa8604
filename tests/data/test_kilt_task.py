"""KILT tasks: the joins, the window around mentions, and the files of all eight tasks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_suites import write_jsonl

from mtbench.data.files import iter_json_lines
from mtbench.data.kilt_records import gold_page_sets, iter_kilt
from mtbench.data.kilt_task import normalised, window
from mtbench.data.reading import read_task
from mtbench.data.types import Notes, TaskData
from mtbench.errors import DataError
from mtbench.suite import Corpus, Suite, Task


def record(name: str, text: str | None, *pages: Any, bleu: float | None = 1.0) -> dict[str, Any]:
    provenance = [{"wikipedia_id": page, **({} if bleu is None else {"bleu_score": bleu})} for page in pages]
    return {
        "id": name,
        **({} if text is None else {"input": text}),
        "output": [{"answer": "x", "provenance": provenance}],
    }


def row(question: str, *passages: int) -> dict[str, Any]:
    return {"question": question, "positive_ctxs": [{"psg_id": p} for p in passages]}


def read(
    folder: Path, train: list[Any], dev: list[Any] | None, kilt: list[Any], notes: Notes | None = None, **options: Any
) -> TaskData:
    (folder / "train.json").write_text(json.dumps(train))
    if dev is not None:
        (folder / "dev.json").write_text(json.dumps(dev))
    write_jsonl(folder / "kilt.jsonl", kilt)
    task = Task(
        "t", "c", "train.json", "train.json", "dev.json" if dev is not None else "", kilt_dev="kilt.jsonl",
        format="kilt", options=options,
    )  # fmt: skip
    suite = Suite("s", 1, "rprecision_page", (Corpus("c", "c"),), (task,), folder)
    return read_task(suite, task, notes)


class TestJoin:
    def test_by_text_whatever_the_order(self, tmp_path: Path) -> None:
        notes = Notes()
        kilt = [record("k1", "Who’s first?", "1"), record("k2", "second", "2"), record("k3", "third", "3")]
        data = read(tmp_path, [row("t", 9)], [row("SECOND", 22), row("who's  first", 11)], kilt, notes)
        assert data.dev.ids == ["k1", "k2", "k3"] and data.dev.texts[0] == "Who’s first?"
        assert data.dev.positives == [{"11": 1}, {"22": 1}, {}]
        assert data.dev.gold_pages == [[["1"]], [["2"]], [["3"]]] and notes.counts == {}

    def test_by_order_where_texts_differ_and_lengths_agree(self, tmp_path: Path) -> None:
        notes = Notes()
        kilt = [record("k1", "left [SEP] a", "1"), record("k2", "same", "2"), record("k3", "same", "3")]
        data = read(tmp_path, [row("t", 9)], [row("rewritten", 11), row("same", 22), row("same", 33)], kilt, notes)
        assert data.dev.positives == [{"11": 1}, {"22": 1}, {"33": 1}]
        assert notes.counts == {"dev rows joined by order, as their text differs": 1}

    def test_no_guess_where_lengths_differ(self, tmp_path: Path) -> None:
        notes = Notes()
        data = read(
            tmp_path, [row("t", 9)], [row("unknown", 11)], [record("a", "x", "1"), record("b", "y", "2")], notes
        )
        assert data.dev.positives == [{}, {}]
        assert notes.counts == {"dev rows without a KILT record, left out": 1}

    def test_without_a_dev_file_there_are_no_passages(self, tmp_path: Path) -> None:
        data = read(tmp_path, [row("t", 9)], None, [record("a", "x", "1")])
        assert data.dev.positives == [{}] and data.dev.gold_pages == [[["1"]]]


def test_train_rows_without_a_passage_are_counted(tmp_path: Path) -> None:
    notes = Notes()
    data = read(tmp_path, [row("a", 1), row("b"), row("c", 3, 4)], None, [record("k", "x", "1")], notes)
    assert (data.train.ids, data.train.positives) == (["0", "2"], [{"1": 1}, {"3": 1, "4": 1}])
    assert notes.counts == {"train queries without a passage, left out": 1}
    with pytest.raises(DataError, match="no train query with a positive passage"):
        read(tmp_path, [row("b")], None, [record("k", "x", "1")])


def test_the_sample_option(tmp_path: Path) -> None:
    rows = [row(f"q{i}", i) for i in range(50)]
    small, again = (read(tmp_path, rows, None, [record("k", "x", "1")], sample=10, sample_seed=42).train for _ in "ab")
    other = read(tmp_path, rows, None, [record("k", "x", "1")], sample=10, sample_seed=43).train
    assert len(small) == 10 and small == again and small.ids != other.ids


def test_the_bleu_threshold(tmp_path: Path) -> None:
    notes = Notes()
    kilt = [record("a", "a", "1", bleu=0.49), record("b", "b", "2", bleu=0.5), record("c", "c", "3", bleu=None)]
    data = read(tmp_path, [row("t", 9)], [row(q, 1) for q in "abc"], kilt, notes, bleu_threshold=0.5)
    assert [bool(found) for found in data.dev.positives] == [False, True, True]
    assert data.dev.gold_pages == [[["1"]], [["2"]], [["3"]]], "pages do not depend on it"
    assert list(notes.counts.values()) == [1]
    with pytest.raises(DataError, match="'bleu_score' must be a number"):
        read(tmp_path, [row("t", 9)], None, [record("a", "a", "1", bleu="high")])  # type: ignore[arg-type]


def test_texts_from_the_original_questions(tmp_path: Path) -> None:
    for name, ids in (("dev", ["q1"]), ("train", ["q2"])):
        data = {"Data": [{"QuestionId": i, "Question": f"text of {i}"} for i in ids], "Split": name}
        (tmp_path / f"wikipedia-{name}.json").write_text(json.dumps(data, indent=2))
    files = ["wikipedia-dev.json", "wikipedia-train.json"]
    kilt = [record("q1", None, "1"), record("q2", None, "2")]
    data = read(tmp_path, [row("t", 9)], [row("text of q2", 5)], kilt, question_files=files)
    assert data.dev.texts == ["text of q1", "text of q2"] and data.dev.positives == [{}, {"5": 1}]
    with pytest.raises(DataError, match=r"kilt\.jsonl:1: record 'q9' has no 'input'"):
        read(tmp_path, [row("t", 9)], None, [record("q9", None, "1")], question_files=files)
    with pytest.raises(DataError, match="record without 'input'"):
        read(tmp_path, [row("t", 9)], None, kilt)
    with pytest.raises(DataError, match="original TriviaQA questions not found"):
        read(tmp_path, [row("t", 9)], None, kilt, question_files=["absent.json"])


def test_a_test_file_cannot_be_the_dev_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"kilt\.jsonl:1: has no 'output'"):
        read(tmp_path, [row("t", 9)], None, [{"id": "a", "input": "x"}])
    with pytest.raises(DataError, match=r"kilt\.jsonl:2: id 'a' occurs twice"):
        read(tmp_path, [row("t", 9)], None, [record("a", "x", "1")] * 2)


class TestWindow:
    TEXT = "a b c d [START_ENT] m n [END_ENT] e f g"

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({}, TEXT),
            ({"mention_left_words": 2}, "c d [START_ENT] m n [END_ENT] e f g"),
            ({"mention_left_words": 0}, "[START_ENT] m n [END_ENT] e f g"),
            ({"mention_left_words": 9, "mention_right_words": 1}, "a b c d [START_ENT] m n [END_ENT] e"),
        ],
    )
    def test_words_on_both_sides(self, options: dict[str, int], expected: str) -> None:
        assert window(self.TEXT, options) == expected

    def test_without_a_mention_nothing_changes(self) -> None:
        assert window("no  mention", {"mention_left_words": 1}) == "no  mention"

    def test_the_mention_survives_a_long_context(self) -> None:
        text = "left " * 300 + "[START_ENT] m [END_ENT]" + " right" * 300
        cut = window(text, {"mention_left_words": 64})
        assert cut.split()[:64] == ["left"] * 64 and cut.split()[64] == "[START_ENT]" and cut.count("right") == 300


def test_normalised_texts_agree_between_the_files() -> None:
    assert normalised("Who’s  there ?\n") == normalised("who's there") == "who's there"


EIGHT = {
    "nq": "nq/nq-{}-kilt.jsonl",
    "triviaqa": "triviaqa_support_only/triviaqa-{}_id-kilt.jsonl",
    "hotpotqa": "hotpotqa/hotpotqa-{}-kilt.jsonl",
    "wow": "wow/wow-{}-kilt.jsonl",
    "trex": "trex/trex-{}-kilt.jsonl",
    "fever": "fever/fever-{}-kilt.jsonl",
    "zsre": "structured_zeroshot/structured_zeroshot-{}-kilt.jsonl",
    "aidayago2": "aidayago2/aidayago2-{}-kilt.jsonl",
}


def evaluator_sets(record: dict[str, Any]) -> Iterator[list[str]]:
    """The pages as KILT's evaluator collects them, in the plainest words."""
    for output in record["output"]:
        seen: list[str] = []
        for item in output.get("provenance", []):
            page = str(item["wikipedia_id"]).strip() if "wikipedia_id" in item else None
            if page is not None and page not in seen:
                seen.append(page)
        if seen:
            yield seen


class EveryTask:
    """What holds for the files of KILT's eight tasks, whoever made them."""

    records: int
    """Of each file."""

    @pytest.mark.parametrize("task", EIGHT)
    @pytest.mark.parametrize("split", ["train", "dev"])
    def test_every_record_and_its_gold_pages(self, samples: Path, task: str, split: str) -> None:
        path = samples / EIGHT[task].format(split)
        raw = [r for _, r in iter_json_lines(path)]
        assert len(raw) == self.records
        for (line, found), original in zip(iter_kilt(path), raw, strict=True):
            assert found["id"] == str(original["id"]) and found.get("input") == original.get("input")
            assert gold_page_sets(found, path, line) == list(evaluator_sets(original))
        assert (task == "triviaqa") == all("input" not in r for r in raw)

    @pytest.mark.parametrize("task", EIGHT)
    def test_test_files_have_no_output(self, samples: Path, task: str) -> None:
        stem = EIGHT[task].format("test_id_without_answers" if task == "triviaqa" else "test_without_answers")
        path = samples / stem.replace("answers_id", "answers")
        records = [r for _, r in iter_kilt(path)]
        assert len(records) == self.records and all("output" not in r for r in records)
        with pytest.raises(DataError, match=r"kilt\.jsonl:1: has no 'output'"):
            gold_page_sets(records[0], path, 1)

    @pytest.mark.parametrize("task", EIGHT)
    def test_dev_records_become_queries(self, samples: Path, tmp_path: Path, task: str) -> None:
        raw = [r for _, r in iter_json_lines(samples / EIGHT[task].format("dev"))]
        (tmp_path / "q.json").write_text(json.dumps({"Data": [{"QuestionId": r["id"], "Question": "?"} for r in raw]}))
        data = read(tmp_path, [row("t", 9)], None, raw, question_files=["q.json"], mention_left_words=64)
        assert data.dev.ids == [r["id"] for r in raw]
        assert data.dev.gold_pages == [list(evaluator_sets(r)) for r in raw]
        if task == "wow":
            assert any("\n" in text for text in data.dev.texts)
        if task == "aidayago2":
            assert all(text.split("[START_ENT]")[0].count(" ") <= 64 for text in data.dev.texts)


class TestMadeUpFiles(EveryTask):
    records = 3

    @pytest.fixture
    def samples(self, formats: Path) -> Path:
        return formats / "kilt"

    def test_peculiarities_of_the_tasks(self, samples: Path) -> None:
        def sets(task: str) -> list[list[list[str]]]:
            path = samples / EIGHT[task].format("dev")
            return [gold_page_sets(record, path, line) for line, record in iter_kilt(path)]

        lighthouse, brell, town, ferry, kiln = "900101", "900102", "900103", "900104", "900105"
        assert sets("nq")[0] == [[lighthouse]] * 4, "an answer alone is no set; provenance without an answer is one"
        assert sets("nq")[2] == [[ferry, town]], "a page that stands twice is one page"
        assert sets("hotpotqa")[1] == [[ferry, kiln]], "two steps are one set"
        assert sets("fever")[1] == [[town], [town], [ferry, town]], "each annotation is a set, equal ones too"
        assert sets("trex")[0] == [[kiln], [town]], "the same answer on two pages is two sets"
        assert sets("wow")[2] == [[brell, lighthouse]]

    def test_a_long_context_is_cut_on_the_left_alone(self, samples: Path, tmp_path: Path) -> None:
        raw = [r for _, r in iter_json_lines(samples / EIGHT["aidayago2"].format("dev"))]
        assert raw[1]["input"].split("[START_ENT]")[0].count(" ") > 100
        texts = read(tmp_path, [row("t", 9)], None, raw, mention_left_words=64).dev.texts
        left, right = texts[1].split(" [START_ENT] ferry [END_ENT] ")
        assert len(left.split()) == 64 and right.split() == raw[1]["meta"]["right_context"].split()
        assert texts[0] == " ".join(raw[0]["input"].split())


class TestRealFiles(EveryTask):
    records = 5

    @pytest.fixture
    def samples(self, shared_data: Path) -> Path:
        return shared_data / "formats" / "kilt_samples"

    @pytest.mark.parametrize("name", ["hotpotqa", "wow"])
    def test_the_dev_files(self, shared_data: Path, name: str) -> None:
        path = shared_data / "formats" / "kilt_dev" / f"{name}-dev-kilt.jsonl"
        records = list(iter_kilt(path))
        assert len(records) == path.read_bytes().count(b"\n") > 50
        assert all(gold_page_sets(r, path, line) == list(evaluator_sets(r)) for line, r in records)


def test_ids_are_numbers_or_text(tmp_path: Path) -> None:
    items = [[1, "2"], ["5"], [7, " 9", 11, "7"]]
    outputs = [{"provenance": [{"wikipedia_id": page} for page in pages]} for pages in items]
    path = write_jsonl(tmp_path / "k.jsonl", [{"id": 1, "output": outputs}])
    ((line, found),) = iter_kilt(path)
    assert found["id"] == "1" and gold_page_sets(found, path, line) == [["1", "2"], ["5"], ["7", "9", "11"]]


def test_ids_of_both_types_in_kilts_own_file(shared_data: Path) -> None:
    path = shared_data / "formats" / "kilt_eval_tests" / "gold2.jsonl"
    (line, found), *_ = iter_kilt(path)
    assert found["id"] == "1" and gold_page_sets(found, path, line)[0] == ["1", "2"]


def joined_question(folder: Path, questions: list[Path]) -> tuple[str, str]:
    """The first question of the first file, as the original has it and as the task has it."""
    original = json.loads(questions[0].read_text("utf-8"))["Data"][0]
    kilt = [record(original["QuestionId"], None, "1")]
    data = read(folder, [row("t", 9)], None, kilt, question_files=[str(path) for path in questions])
    return original["Question"], data.dev.texts[0]


def test_questions_of_trivia_qas_own_form(formats: Path, tmp_path: Path) -> None:
    files = [formats / "trivia_qa" / f"wikipedia-{split}.json" for split in ("dev", "train")]
    expected, found = joined_question(tmp_path, files)
    assert found == expected == "What in Tarnmoor burns for nine days?"
    raw = [r for _, r in iter_json_lines(formats / "kilt" / EIGHT["triviaqa"].format("dev"))]
    data = read(tmp_path, [row("t", 9)], None, raw, question_files=[str(path) for path in files])
    assert data.dev.texts[1] == "Which owl “sings” at dusk?", "a question of the other file"


def test_questions_of_the_real_trivia_qa(shared_data: Path, tmp_path: Path) -> None:
    qa = shared_data / "formats" / "trivia_qa" / "triviaqa-rc" / "qa"
    expected, found = joined_question(tmp_path, [qa / "wikipedia-dev.json", qa / "wikipedia-train.json"])
    assert found == expected
