"""BEIR's layout: corpus and queries as JSON lines, judgements as tab-separated files with a header.

Thakur et al., BEIR, NeurIPS 2021 (datasets and benchmarks). A KILT dev file may add the gold page sets.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mtbench.data.fields import Located, grade, identifier, is_blank, string
from mtbench.data.files import find_file, iter_json_lines, iter_lines
from mtbench.data.kilt_records import gold_page_sets, iter_kilt
from mtbench.data.types import Notes, Passage, QuerySplit, TaskData
from mtbench.errors import DataError
from mtbench.suite import Corpus, Suite, Task

QRELS_HEADER = ("query-id", "corpus-id", "score")


def iter_corpus(suite: Suite, corpus: Corpus, notes: Notes) -> Iterator[Located]:
    """Passages of ``corpus.jsonl`` (or of every file in ``options.paths``)."""
    for name in corpus.options.get("paths") or [corpus.path]:
        path = find_file(suite.root, name, f"corpus {corpus.name!r}")
        for line, record in iter_json_lines(path):
            metadata = record.get("metadata") or {}
            if not isinstance(metadata, dict):
                raise DataError("'metadata' must be an object", path=path, line=line)
            page = metadata.get("wikipedia_id")
            passage = Passage(
                identifier(record, "_id", path, line),
                string(record, "title", path, line, ""),
                string(record, "text", path, line),
                "" if page is None else str(page),
            )
            if is_blank(passage.text):
                notes.add("empty passages", f"{path}:{line}")
            yield path, line, passage


def read_queries(path: Path) -> dict[str, str]:
    """Query id to text."""
    queries: dict[str, str] = {}
    for line, record in iter_json_lines(path):
        name = identifier(record, "_id", path, line)
        if name in queries:
            raise DataError(f"query id {name!r} occurs twice", path=path, line=line, remedy="Make the ids unique.")
        queries[name] = string(record, "text", path, line)
    if not queries:
        raise DataError("no query in the file", path=path)
    return queries


def iter_qrels(path: Path) -> Iterator[tuple[int, str, str, int]]:
    """Judgements as ``(line, query id, passage id, relevance)``; columns are found by the header's names."""
    lines = iter_lines(path)
    columns = _header(next(lines, (1, ""))[1], path)
    for number, text in lines:
        if not text:
            continue
        fields = text.split("\t")
        if len(fields) != 3:
            raise DataError(f"expected 3 tab-separated columns, found {len(fields)}", path=path, line=number)
        query, passage, score = (fields[i] for i in columns)
        yield number, query, passage, grade(score, path, number)


def _header(text: str, path: Path) -> list[int]:
    names = text.split("\t")
    if sorted(names) != sorted(QRELS_HEADER):
        raise DataError(
            f"expected the header {' '.join(QRELS_HEADER)!r} (tabs between), found {text[:80]!r}",
            path=path,
            line=1,
            remedy="Add the header as the first line; a TREC file needs its second column dropped as well.",
        )
    return [names.index(name) for name in QRELS_HEADER]


def read_qrels(path: Path, queries: dict[str, str], queries_path: Path) -> dict[str, dict[str, int]]:
    """Query id to judged passages, in the file's order; every query must be in ``queries``."""
    judged: dict[str, dict[str, int]] = {}
    for line, query, passage, score in iter_qrels(path):
        if query not in queries:
            raise DataError(
                f"judges query {query!r}, which is not in {queries_path.name}",
                path=path,
                line=line,
                remedy="Add the query or remove the judgement.",
            )
        row = judged.setdefault(query, {})
        if row.get(passage, score) != score:
            raise DataError(f"judges ({query!r}, {passage!r}) twice, differently", path=path, line=line)
        row[passage] = score
    if not judged:
        raise DataError("no judgement in the file", path=path)
    return judged


def read_task(suite: Suite, task: Task, notes: Notes) -> TaskData:
    """Train and dev queries with their judgements; dev queries of ``kilt_dev`` without judged passages stay."""
    queries_path = find_file(suite.root, task.queries, f"queries of task {task.name!r}")
    queries = read_queries(queries_path)
    train = _train_split(suite, task, queries, queries_path, notes)
    dev_path = find_file(suite.root, task.dev_qrels, f"judgements of task {task.name!r}")
    dev = _split(read_qrels(dev_path, queries, queries_path), queries, keep_irrelevant=True)
    if task.kilt_dev is not None:
        _add_pages(dev, find_file(suite.root, task.kilt_dev, "KILT dev file"), queries, dev_path)
    return TaskData(train, dev)


def _train_split(suite: Suite, task: Task, queries: dict[str, str], queries_path: Path, notes: Notes) -> QuerySplit:
    """The train queries; none of a task that is only scored."""
    if not task.train_qrels:
        return QuerySplit()
    path = find_file(suite.root, task.train_qrels, f"judgements of task {task.name!r}")
    judged = read_qrels(path, queries, queries_path)
    train = _split(judged, queries, keep_irrelevant=False)
    notes.add("train queries without a relevant passage, left out", count=len(judged) - len(train))
    if not len(train):
        raise DataError("no train query with a relevant passage (score > 0)", path=path)
    return train


def _split(judged: dict[str, dict[str, int]], queries: dict[str, str], *, keep_irrelevant: bool) -> QuerySplit:
    split = QuerySplit()
    for query, row in judged.items():
        positives = {passage: score for passage, score in row.items() if score > 0}
        if positives or keep_irrelevant:
            split.ids.append(query)
            split.texts.append(queries[query])
            split.positives.append(positives)
    if not all(split.positives):
        split.judged = [True] * len(split)
    return split


def _add_pages(dev: QuerySplit, path: Path, queries: dict[str, str], dev_path: Path) -> None:
    """Gold page sets by id; queries that only the KILT file has are added behind the others."""
    pages: dict[str, list[list[str]]] = {}
    known = set(dev.ids)
    for line, record in iter_kilt(path):
        name = str(record["id"])
        if name in pages:
            raise DataError(f"id {name!r} occurs twice", path=path, line=line)
        pages[name] = gold_page_sets(record, path, line)
        if name not in known:
            if name not in queries:
                raise DataError(f"query {name!r} is not in the queries file", path=path, line=line)
            dev.ids.append(name)
            dev.texts.append(queries[name])
            dev.positives.append({})
            if dev.judged is not None:
                dev.judged.append(False)
    missing = next((name for name in dev.ids if name not in pages), None)
    if missing is not None:
        raise DataError(
            f"no record for query {missing!r}, which {dev_path.name} judges",
            path=path,
            remedy="Add the record.",
        )
    dev.gold_pages = [pages[name] for name in dev.ids]


def locate_judgement(suite: Suite, task: Task, split: str, passage: str) -> tuple[Path, int | None]:
    """Where ``passage`` is first judged."""
    path = find_file(suite.root, task.dev_qrels if split == "dev" else task.train_qrels)
    return path, next((line for line, _, found, _ in iter_qrels(path) if found == passage), None)
