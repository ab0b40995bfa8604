"""A KILT task over MT-DPR's passages: train from the DPR-style file, dev texts and gold pages from KILT's own file.

Options of a task (``Task.options``), each a choice in which papers differ:

``sample``, ``sample_seed``
    train queries kept (T-REx and zero-shot RE: 100,000), and the seed of the choice.
``bleu_threshold``
    dev queries whose provenance all matches worse than this have no passage judgements (MT-DPR: 0.5).
``mention_left_words``, ``mention_right_words``
    words kept around a marked mention (AIDA: 64 on the left, all on the right).
``positives``
    ``listed`` (the file's passages) or ``page`` (all passages of their pages; TACO's choice for AIDA).
``question_files``
    TriviaQA's original files, which hold the texts that KILT's records lack.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtbench.data.dpr import Row, iter_dpr
from mtbench.data.files import find_file
from mtbench.data.json_array import iter_json_array
from mtbench.data.kilt_records import gold_page_sets, iter_kilt, provenances
from mtbench.data.sampling import smallest_hashes
from mtbench.data.types import Notes, QuerySplit, TaskData
from mtbench.errors import DataError
from mtbench.suite import Suite, Task

START, END = "[START_ENT]", "[END_ENT]"


def read_task(suite: Suite, task: Task, notes: Notes) -> TaskData:
    """Train queries with a positive passage; all dev queries, with passages where the dev DPR file has them."""
    return TaskData(read_train(suite, task, notes), read_dev(suite, task, notes))


def read_train(suite: Suite, task: Task, notes: Notes) -> QuerySplit:
    """Train queries; ids are row numbers of the file, as there are no others."""
    path = find_file(suite.root, task.train_qrels, f"train file of task {task.name!r}")
    dropped = 0

    def usable() -> Iterator[Row]:
        nonlocal dropped
        for row in iter_dpr(path):
            if row.positives:
                yield row
            else:
                dropped += 1

    numbered = ((row.number, row) for row in usable())
    rows = smallest_hashes(numbered, task.options.get("sample"), int(task.options.get("sample_seed", 0)))
    notes.add("train queries without a passage, left out", str(path), dropped)
    if not rows:
        raise DataError("no train query with a positive passage", path=path)
    return QuerySplit(
        [str(row.number) for row in rows],
        [window(row.question, task.options) for row in rows],
        [dict.fromkeys(row.positives, 1) for row in rows],
    )


def read_dev(suite: Suite, task: Task, notes: Notes) -> QuerySplit:
    """Dev queries of the KILT file with gold pages; passages are joined by text, else by order."""
    if task.kilt_dev is None:
        raise DataError(f"task {task.name!r} of the format kilt needs kilt_dev", path=suite.root)
    path = find_file(suite.root, task.kilt_dev, f"KILT dev file of task {task.name!r}")
    records = _read_records(suite, task, path)
    positives: list[dict[str, int]] = [{} for _ in records]
    if task.dev_qrels:
        passages = find_file(suite.root, task.dev_qrels, f"dev file of task {task.name!r}")
        positives = _join(records, list(iter_dpr(passages)), notes, passages)
    threshold = float(task.options.get("bleu_threshold", 0.0))
    for record, found in zip(records, positives, strict=True):
        if found and record.best_match < threshold:
            notes.add(f"dev queries whose provenance matches below {threshold} BLEU: no passage judgements")
            found.clear()
    return QuerySplit(
        [record.id for record in records],
        [window(record.text, task.options) for record in records],
        positives,
        [record.pages for record in records],
    )


@dataclass(slots=True)
class _Record:
    id: str
    text: str
    pages: list[list[str]]
    best_match: float


def _read_records(suite: Suite, task: Task, path: Path) -> list[_Record]:
    questions: dict[str, str] | None = None
    records: dict[str, _Record] = {}
    for line, record in iter_kilt(path):
        text = record.get("input")
        if not text:
            if questions is None:
                questions = original_questions(suite, task, path, line)
            text = questions.get(record["id"])
        if not text:
            raise DataError(
                f"record {record['id']!r} has no 'input', and the original questions do not have it either",
                path=path,
                line=line,
                remedy="Are the question files of the same release (triviaqa-rc)?",
            )
        if record["id"] in records:
            raise DataError(f"id {record['id']!r} occurs twice", path=path, line=line)
        scores = [_match(item, path, line) for items in provenances(record, path, line) for item in items]
        pages = gold_page_sets(record, path, line)
        records[record["id"]] = _Record(record["id"], text, pages, max(scores, default=0.0))
    if not records:
        raise DataError("no record in the file", path=path)
    return list(records.values())


def _match(item: dict[str, Any], path: Path, line: int) -> float:
    """How well a provenance matches the page's text; one without a figure was not matched but given, so 1."""
    score = item.get("bleu_score")
    if score is None:
        return 1.0
    if isinstance(score, bool) or not isinstance(score, (int, float)):
        raise DataError(f"'bleu_score' must be a number, found {score!r}", path=path, line=line)
    return float(score)


def original_questions(suite: Suite, task: Task, path: Path, line: int) -> dict[str, str]:
    """TriviaQA's question texts by id, from the task's ``question_files``."""
    files = task.options.get("question_files")
    if not files:
        raise DataError("record without 'input'", path=path, line=line, remedy="Name the original question_files.")
    questions: dict[str, str] = {}
    for name in files:
        file = find_file(
            suite.root, name, "original TriviaQA questions", "Unpack triviaqa-rc.tar.gz into triviaqa-rc/."
        )
        for at, item in iter_json_array(file, "Data"):
            if not isinstance(item, dict) or not isinstance(item.get("QuestionId"), str):
                raise DataError("an element without 'QuestionId'", path=file, line=at)
            questions.setdefault(item["QuestionId"], str(item.get("Question", "")))
    return questions


def normalised(text: str) -> str:
    """A text as it is compared between files: DPR straightens apostrophes and may drop the question mark."""
    return " ".join(text.replace("’", "'").casefold().split()).rstrip("? ")


def _join(records: list[_Record], rows: list[Row], notes: Notes, path: Path) -> list[dict[str, int]]:
    """Positives of each record: by text; rows that match no text go by order if both files are equally long."""
    positives: list[dict[str, int]] = [{} for _ in records]
    waiting: dict[str, deque[int]] = {}
    for index, record in enumerate(records):
        waiting.setdefault(normalised(record.text), deque()).append(index)
    left: list[Row] = []
    for row in rows:
        same = waiting.get(normalised(row.question))
        if same:
            # Repeated texts: the record on the row's own place, if it is one of them, else the next.
            index = row.number if len(rows) == len(records) and row.number in same else same[0]
            same.remove(index)
            positives[index] = dict.fromkeys(row.positives, 1)
        else:
            left.append(row)
    free = {index for same in waiting.values() for index in same}
    by_order = [row for row in left if len(rows) == len(records) and row.number in free]
    for row in by_order:
        positives[row.number] = dict.fromkeys(row.positives, 1)
    notes.add("dev rows joined by order, as their text differs", str(path), len(by_order))
    notes.add("dev rows without a KILT record, left out", str(path), len(left) - len(by_order))
    return positives


def window(text: str, options: dict[str, Any]) -> str:
    """``text`` with its mention's context cut to the options' numbers of words; unchanged without a mention."""
    left_words, right_words = options.get("mention_left_words"), options.get("mention_right_words")
    if (left_words is None and right_words is None) or START not in text or END not in text:
        return text
    left, _, rest = text.partition(START)
    mention, _, right = rest.partition(END)
    before, after = left.split(), right.split()
    before = before if left_words is None else before[len(before) - min(left_words, len(before)) :]
    after = after if right_words is None else after[:right_words]
    return " ".join([*before, START, *mention.split(), END, *after])


def locate_judgement(suite: Suite, task: Task, split: str, passage: str) -> tuple[Path, int | None]:
    """Where ``passage`` is first judged."""
    path = find_file(suite.root, task.dev_qrels if split == "dev" else task.train_qrels)
    return path, next((row.line for row in iter_dpr(path) if passage in row.positives), None)
