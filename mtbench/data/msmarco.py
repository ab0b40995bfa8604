"""MS MARCO passage ranking (Bajaj et al., 2016): collection, queries and judgements as tab-separated files.

Titles are not part of the collection; RocketQA's ``para.title.txt`` adds them (``options.titles_file``).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mtbench.data.fields import Located, checked_id, grade, is_blank
from mtbench.data.files import find_file, iter_lines
from mtbench.data.types import Notes, Passage, QuerySplit, TaskData
from mtbench.errors import DataError
from mtbench.suite import Corpus, Suite, Task

NO_TITLE = "-"


def iter_columns(path: Path, width: int) -> Iterator[tuple[int, list[str]]]:
    """Rows of ``width`` tab-separated columns as ``(line, columns)``; blank lines are passed over."""
    for line, text in iter_lines(path):
        if text:
            columns = text.split("\t")
            if len(columns) != width:
                raise DataError(f"expected {width} tab-separated columns, found {len(columns)}", path=path, line=line)
            yield line, columns


def iter_corpus(suite: Suite, corpus: Corpus, notes: Notes) -> Iterator[Located]:
    """Passages of ``collection.tsv``, with titles where the title file (in the same order) has them."""
    path = find_file(suite.root, corpus.path, f"corpus {corpus.name!r}")
    titles_file = corpus.options.get("titles_file")
    titles: Iterator[tuple[int, list[str]]] = iter(())
    titles_path = path
    if titles_file:
        titles_path = find_file(suite.root, titles_file, "titles of the collection")
        titles = iter_columns(titles_path, 2)
    pending = next(titles, None)
    for line, (name, text) in iter_columns(path, 2):
        title = ""
        if pending is not None and pending[1][0] == name:
            title = "" if pending[1][1] == NO_TITLE else pending[1][1]
            pending = next(titles, None)
        if is_blank(text):
            notes.add("empty passages", f"{path}:{line}")
        yield path, line, Passage(checked_id(name, path, line), title, text)
    if pending is not None:
        raise DataError(
            f"title of {pending[1][0]!r} stands where the collection has another passage or none",
            path=titles_path,
            line=pending[0],
            remedy="Sort the title file as the collection is sorted (sort -n).",
        )


def _read_queries(path: Path) -> dict[str, str]:
    queries: dict[str, str] = {}
    for line, (name, text) in iter_columns(path, 2):
        if name in queries:
            raise DataError(f"query id {name!r} occurs twice", path=path, line=line)
        queries[checked_id(name, path, line)] = text
    if not queries:
        raise DataError("no query in the file", path=path)
    return queries


def iter_qrels(path: Path) -> Iterator[tuple[int, str, str, int]]:
    """TREC judgements ``query 0 passage relevance`` as ``(line, query, passage, relevance)``."""
    for line, text in iter_lines(path):
        columns = text.split()
        if not columns:
            continue
        if len(columns) != 4:
            raise DataError(
                f"expected 4 columns (query 0 passage relevance), found {len(columns)}", path=path, line=line
            )
        yield line, columns[0], columns[2], grade(columns[3], path, line)


def _read_split(suite: Suite, queries_name: str, qrels_name: str, task: Task, *, keep_irrelevant: bool) -> QuerySplit:
    queries_path = find_file(suite.root, queries_name, f"queries of task {task.name!r}")
    path = find_file(suite.root, qrels_name, f"judgements of task {task.name!r}")
    queries = _read_queries(queries_path)
    judged: dict[str, dict[str, int]] = {}
    for line, query, passage, relevance in iter_qrels(path):
        if query not in queries:
            raise DataError(f"judges query {query!r}, which is not in {queries_path.name}", path=path, line=line)
        if relevance > 0 or keep_irrelevant:
            row = judged.setdefault(query, {})
            if relevance > 0:
                row[passage] = relevance
    if not any(judged.values()):
        raise DataError("no relevant passage in the file", path=path)
    split = QuerySplit(list(judged), [queries[name] for name in judged], list(judged.values()))
    if not all(split.positives):
        split.judged = [True] * len(split)
    return split


def read_task(suite: Suite, task: Task, notes: Notes) -> TaskData:
    """Train queries with a relevant passage and judged dev queries, whose texts are in ``options.dev_queries_file``."""
    dev_queries = str(task.options.get("dev_queries_file", task.queries))
    return TaskData(
        _read_split(suite, task.queries, task.train_qrels, task, keep_irrelevant=False),
        _read_split(suite, dev_queries, task.dev_qrels, task, keep_irrelevant=True),
    )


def locate_judgement(suite: Suite, task: Task, split: str, passage: str) -> tuple[Path, int | None]:
    """Where ``passage`` is first judged."""
    path = find_file(suite.root, task.dev_qrels if split == "dev" else task.train_qrels)
    return path, next((line for line, _, found, _ in iter_qrels(path) if found == passage), None)
