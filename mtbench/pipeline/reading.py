"""What the reader of a run reads: the answered queries of each task with the passages of the model under test."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mtbench.data.answers import has_answers
from mtbench.data.prepared import PreparedCorpus, PreparedQueries
from mtbench.data.reading import iter_passages, read_task
from mtbench.pipeline.context import Context
from mtbench.pipeline.plan import Stage
from mtbench.pipeline.stages.answers import answers_of
from mtbench.reader.texts import KEEPS_END, Asked
from mtbench.retrieval.ranking import Ranking
from mtbench.training.examples import selection_rows, usable_rows


@dataclass(frozen=True)
class ReadSplit:
    """The queries of one split of a task, with their answers and the passages behind each, best first."""

    queries: PreparedQueries
    corpus: PreparedCorpus
    alternatives: list[list[str]]
    ranking: Ranking
    """Passages that the reader gets: ``(Q, reader.passages)``."""
    rows: np.ndarray
    """The queries that are used."""
    prompt: str
    keeps_end: bool

    def asked(self, row: int) -> Asked:
        """What the reader is asked of query ``row``."""
        passages = [int(p) for p in self.ranking.indices[row] if p >= 0]
        texts = [(self.corpus.title(p), self.corpus.text(p)) for p in passages]
        return Asked(self.queries.text(row), self.prompt, texts, self.keeps_end)

    def example(self, row: int) -> tuple[Asked, str]:
        """A query to learn from, and the first of its answers."""
        return self.asked(row), self.alternatives[row][0]


@dataclass(frozen=True)
class ReadTask:
    """A task of the reader."""

    name: str
    family: str
    train: ReadSplit
    dev: ReadSplit


def answered_tasks(context: Context, stage: Stage) -> list[str]:
    """The tasks that a ``read`` stage is about, in the suite's order."""
    chosen = stage.settings.get("tasks")
    names = [task.name for task in context.run.suite.tasks if has_answers(task)]
    return names if chosen is None else [name for name in names if name in chosen]


def read_tasks(context: Context, stage: Stage) -> dict[str, ReadTask]:
    """The tasks of a ``read`` stage, opened."""
    prepared, found = context.prepared(stage.inputs["prepare"]), {}
    answers = context.folder(stage.inputs["answers"])
    for name in answered_tasks(context, stage):
        declared, task = context.run.suite.task(name), prepared.tasks[name]
        shared = context.config.reader.sharing == "shared"
        prompt = (declared.prompt or name.upper()) if shared else ""
        splits = {}
        for split, queries, corpus in (("train", task.train, task.corpus), ("dev", task.dev, task.dev_corpus)):
            alternatives = answers_of(answers, name, split)
            rows = np.arange(len(queries))
            if split == "train":
                rows = usable_rows(queries, selection_rows(queries, name, stage.settings["selection_queries"]))
            kept = np.array([row for row in rows if alternatives[int(row)]], dtype=np.int64)
            ranking = _passages(context, stage, name, split, queries, prepared.corpora[corpus])
            splits[split] = ReadSplit(
                queries, prepared.corpora[corpus], alternatives, ranking, kept, prompt, task.family in KEEPS_END
            )
        found[name] = ReadTask(name, task.family, splits["train"], splits["dev"])
    return found


def _passages(
    context: Context, stage: Stage, task: str, split: str, queries: PreparedQueries, corpus: PreparedCorpus
) -> Ranking:
    if "passages" in stage.inputs:
        return Ranking.load(context.folder(stage.inputs["passages"]) / split / task)
    if stage.settings["passages_of"] == "closed-book":
        return _as_ranking([[] for _ in range(len(queries))], 1)
    depth = context.config.reader.passages
    return _as_ranking([relevant_passages(queries, corpus, i)[:depth] for i in range(len(queries))], depth)


def relevant_passages(queries: PreparedQueries, corpus: PreparedCorpus, row: int) -> list[int]:
    """The judged passages of a query; where none is judged the first of each page of its first set of gold pages."""
    judged, grades = queries.positives(row)
    found = [int(p) for p, grade in zip(judged, grades, strict=True) if grade > 0]
    sets = queries.gold_pages(row)
    if found or not sets:
        return found
    firsts = (np.flatnonzero(corpus.pages == page)[:1] for page in sets[0] if page >= 0)
    return [int(first[0]) for first in firsts if len(first)]


def _as_ranking(rows: list[list[int]], depth: int) -> Ranking:
    indices = np.full((len(rows), depth), -1, np.int32)
    for place, row in enumerate(rows):
        indices[place, : len(row)] = row
    return Ranking(indices, np.where(indices < 0, -np.inf, 0.0).astype(np.float32))


def reader_texts(context: Context, stage: Stage) -> Iterator[str]:
    """What a reader's tokenizer is trained on: passages, and training queries with their prompts and answers."""
    suite, answers = context.run.suite, context.folder(stage.inputs["answers"])
    for corpus in suite.corpora:
        for passage in iter_passages(suite, corpus):
            yield f"title: {passage.title} context: {passage.text}"
    for task in suite.tasks:
        for text in read_task(suite, task).train.texts:
            yield f"{task.prompt} question: {text}"
        if has_answers(task):
            for alternatives in answers_of(answers, task.name, "train"):
                yield from alternatives


def groups_of(tasks: dict[str, ReadTask], sharing: str) -> dict[str, list[ReadTask]]:
    """The readers by name, each with its tasks."""
    return {"all": list(tasks.values())} if sharing == "shared" else {name: [task] for name, task in tasks.items()}


def model_folder(work: Path, group: str) -> Path:
    """Where a trained reader stands."""
    return work / "readers" / group
