"""Queries without judgements: a task's test file, whose answers only a server of its makers knows."""

from __future__ import annotations

from pathlib import Path

from mtbench.data.beir import read_queries
from mtbench.data.files import find_file
from mtbench.data.kilt_records import iter_kilt
from mtbench.data.kilt_task import original_questions, window
from mtbench.data.types import QuerySplit
from mtbench.errors import DataError
from mtbench.suite import Suite, Task


def read_test(suite: Suite, task: Task) -> QuerySplit:
    """The queries of ``task.test``, in the file's order, without judgements; DataError with file and line.

    For the format ``kilt`` it is KILT's file without answers, for ``beir`` one of queries (``_id``, ``text``).
    """
    path = find_file(suite.root, task.test, f"test file of task {task.name!r}")
    if task.format == "kilt":
        ids, texts = _of_kilt(suite, task, path)
    elif task.format == "beir":
        queries = read_queries(path)
        ids, texts = list(queries), list(queries.values())
    else:
        raise DataError(f"tasks of the format {task.format!r} have no test queries", path=path)
    return QuerySplit(ids, texts, [{} for _ in ids])


def _of_kilt(suite: Suite, task: Task, path: Path) -> tuple[list[str], list[str]]:
    found: dict[str, str] = {}
    questions: dict[str, str] | None = None
    for line, record in iter_kilt(path):
        text = record.get("input")
        if not text:
            questions = original_questions(suite, task, path, line) if questions is None else questions
            text = questions.get(record["id"])
        if not text:
            raise DataError(
                f"record {record['id']!r} has no 'input', nor have the question files", path=path, line=line
            )
        if record["id"] in found:
            raise DataError(f"id {record['id']!r} occurs twice", path=path, line=line)
        found[record["id"]] = window(str(text), task.options)
    if not found:
        raise DataError("no record in the file", path=path)
    return list(found), list(found.values())
