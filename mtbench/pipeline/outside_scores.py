"""Scoring an outside system's file for one task of a suite, by the code that scores mtbench's own runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mtbench.data.files import iter_json_lines
from mtbench.data.reading import iter_passages, read_task
from mtbench.data.types import QuerySplit
from mtbench.errors import DataError
from mtbench.evaluation import kilt_scores as kilt
from mtbench.evaluation.metrics import evaluate_task
from mtbench.evaluation.runfiles import RUN_COLUMNS, Run, columns_of, decoded_run, read_trec_run
from mtbench.evaluation.scores import TaskScores
from mtbench.evaluation.trec_ids import are_encoded, decode_id
from mtbench.suite import Suite, Task

DEPTH = 100
"""Least number of places per query: a shorter run scores what it has, as under trec_eval."""
PREDICTIONS = (".jsonl", ".json")
"""Endings of KILT prediction files; every other file is a TREC run."""


@dataclass
class _Arrays:
    """A run and its judgements as integers: what :func:`evaluate_task` reads."""

    indices: np.ndarray
    pages: np.ndarray
    size: int
    relevant: list[tuple[np.ndarray, np.ndarray]]
    judged: list[bool]
    sets: list[list[np.ndarray]] | None = None

    def positives(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        return self.relevant[i]

    def is_judged(self, i: int) -> bool:
        return self.judged[i]

    def gold_pages(self, i: int) -> list[np.ndarray] | None:
        return None if self.sets is None else self.sets[i]

    def __len__(self) -> int:
        return len(self.relevant)


@dataclass
class _Passages:
    """The corpus as the metrics see it: its size, and the page of the passages that occur."""

    pages: np.ndarray
    size: int

    def __len__(self) -> int:
        return self.size


def score_file(suite: Suite, task: Task, file: Path) -> tuple[TaskScores, int]:
    """Score one file on the dev queries of ``task``: KILT predictions (``.jsonl``) or else a TREC run.

    Also how many of these queries the file has no results for; each of them scores 0.

    A prediction file names pages only, so it gives ``rprecision_page`` alone. Raises :class:`DataError`, with file
    and line, for a malformed file or an id that the suite does not have.
    """
    dev = read_task(suite, task).dev
    if file.suffix in PREDICTIONS:
        return _score_predictions(task, dev, file)
    return _score_run(suite, task, dev, file)


def _score_predictions(task: Task, dev: QuerySplit, file: Path) -> tuple[TaskScores, int]:
    if dev.gold_pages is None:
        raise DataError(
            f"task {task.name!r} has no gold pages, so a KILT prediction file cannot be scored on it",
            path=file,
            remedy=f"Give a TREC run with passage ids instead: {task.name}.trec",
        )
    predictions = kilt.read_predictions(file)
    _refuse_unknown(predictions, dev.ids, "query", task, file)
    values = np.zeros(len(dev.ids))
    for i, query in enumerate(dev.ids):
        if query in predictions:
            values[i] = kilt.rprecision(kilt.page_ids(predictions[query]["output"])[0], dev.gold_pages[i])
    return TaskScores(dev.ids, {"rprecision_page": values}), sum(query not in predictions for query in dev.ids)


def _score_run(suite: Suite, task: Task, dev: QuerySplit, file: Path) -> tuple[TaskScores, int]:
    run = read_trec_run(file)
    found = {passage for results in run.values() for passage in results}
    wanted = found | {decode_id(name) for name in found} | {passage for judged in dev.positives for passage in judged}
    page_of: dict[str, str] = {}
    size = 0
    for passage in iter_passages(suite, suite.corpus(task.dev_corpus or task.corpus)):
        size += 1
        if passage.id in wanted:
            page_of[passage.id] = passage.page
    encoded = are_encoded(run, set(dev.ids)) or are_encoded(found, page_of)
    if encoded:
        run = decoded_run(run, file)
    _refuse_unknown(run, dev.ids, "query", task, file, encoded)
    _refuse_unknown((p for results in run.values() for p in results), page_of, "passage", task, file, encoded)
    if task.ignore_identical_ids:
        run = {query: {p: s for p, s in results.items() if p != query} for query, results in run.items()}
    arrays = _as_arrays(run, dev, page_of, size)
    scores = evaluate_task(arrays, arrays, _Passages(arrays.pages, arrays.size), suite.metric)
    return TaskScores(dev.ids, scores), sum(query not in run for query in dev.ids)


def _as_arrays(run: Run, dev: QuerySplit, page_of: Mapping[str, str], size: int) -> _Arrays:
    """Number the passages and pages that occur; rank by float32 score, then id descending, as trec_eval does."""
    row_of = {passage: row for row, passage in enumerate(page_of)}
    numbers: dict[str, int] = {}
    pages = np.array([numbers.setdefault(page, len(numbers)) for page in page_of.values()], dtype=np.int64)
    depth = max([DEPTH, *map(len, run.values())])
    indices = np.full((len(dev.ids), depth), -1, dtype=np.int32)
    for i, query in enumerate(dev.ids):
        results = run.get(query, {})
        order = sorted(results, key=lambda p: (np.float32(results[p]), p), reverse=True)
        indices[i, : len(order)] = [row_of[passage] for passage in order]
    relevant = []
    for positives in dev.positives:
        known = {row_of[passage]: grade for passage, grade in positives.items() if passage in row_of}
        relevant.append((np.array(list(known), dtype=np.int64), np.array(list(known.values()), dtype=np.int64)))
    sets = None
    if dev.gold_pages is not None:
        absent: dict[str, int] = {}
        # A page of which nothing was found or judged counts in R all the same, under a number of its own.
        sets = [
            [np.array([numbers.get(p, -2 - absent.setdefault(p, len(absent))) for p in pages_]) for pages_ in evidence]
            for evidence in dev.gold_pages
        ]
    return _Arrays(indices, pages, max(size, len(page_of)), relevant, dev.which_judged, sets)


def _refuse_unknown(
    ids: Iterable[str], known: Iterable[str], kind: str, task: Task, file: Path, encoded: bool = False
) -> None:
    unknown = set(ids).difference(known)
    if not unknown:
        return
    line, name = next((line, name) for line, name in _ids_by_line(file, kind, encoded) if name in unknown)
    raise DataError(
        f"{kind} {name!r} is not in task {task.name!r} ({len(unknown)} unknown in all)",
        path=file,
        line=line,
        remedy="The file must be for this suite's dev queries and this profile's corpus.",
    )


def _ids_by_line(file: Path, kind: str, encoded: bool) -> Iterator[tuple[int, str]]:
    if file.suffix in PREDICTIONS:
        yield from ((line, str(record["id"]).strip()) for line, record in iter_json_lines(file))
    else:
        column = 0 if kind == "query" else 2
        for line, columns in columns_of(file, RUN_COLUMNS):
            yield line, decode_id(columns[column]) if encoded else columns[column]
