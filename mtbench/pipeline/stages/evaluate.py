"""evaluate: rankings and scores of the dev queries, and scores of the slice of train that settings are chosen on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mtbench.data.prepared import PreparedQueries, PreparedSuite
from mtbench.evaluation.metrics import evaluate_task
from mtbench.evaluation.scores import SCORES_FILE, TaskScores, task_result, write_scores
from mtbench.pipeline.context import Context
from mtbench.pipeline.plan import Stage
from mtbench.pipeline.searching import Part, search_parts, split_parts
from mtbench.records.record import TaskResult
from mtbench.retrieval.ranking import Ranking
from mtbench.storage.manifest import Results
from mtbench.training.examples import selection_rows


class Subset:
    """Some queries of a split, as the metrics see queries.

    With ``pages`` (of the corpus), queries without KILT's page sets have one set: the pages of their passages.
    """

    def __init__(self, queries: PreparedQueries, rows: np.ndarray, pages: np.ndarray | None = None) -> None:
        self._queries, self._rows, self._pages = queries, rows, pages

    def __len__(self) -> int:
        return len(self._rows)

    def positives(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """As of the whole split."""
        return self._queries.positives(int(self._rows[i]))

    def is_judged(self, i: int) -> bool:
        """As of the whole split."""
        return self._queries.is_judged(int(self._rows[i]))

    def gold_pages(self, i: int) -> list[np.ndarray] | None:
        """As of the whole split, or the pages of the relevant passages."""
        gold = self._queries.gold_pages(int(self._rows[i]))
        if gold is None and self._pages is not None:
            return [np.unique(self._pages[self.positives(i)[0]])]
        return gold


def compute(context: Context, stage: Stage, work: Path) -> Results | None:
    """Writes ``rankings/TASK/`` and ``scores.parquet``; the metrics stand in the manifest."""
    suite, config = context.prepared(stage.inputs["prepare"]), context.config
    dev = split_parts(suite, lambda task: task.dev, lambda task: task.dev_corpus)
    selection = [
        (n, t.corpus, t.train, selection_rows(t.train, n, config.data.selection_queries))
        for n, t in suite.tasks.items()
    ]
    source = stage.inputs["source"]
    if source.name == "bm25":
        folder = context.folder(source)
        rankings = [Ranking.load(folder / "rankings" / name) for name, *_ in dev]
        rankings += [Ranking.load(folder / "train_rankings" / name)[rows] for name, _, _, rows in selection]
    else:
        rankings = search_parts(context, source, [*dev, *selection], config.search.depth)
    if context.ranks.rank:
        return None
    for (name, *_), ranking in zip(dev, rankings, strict=False):
        ranking.save(work / "rankings" / name)
    scores = _scores(suite, dev, rankings[: len(dev)])
    write_scores(work / SCORES_FILE, scores)
    chosen = _scores(suite, selection, rankings[len(dev) :])
    return {"tasks": _results(scores), "selection": _results(chosen)}


def _scores(suite: PreparedSuite, parts: list[Part], rankings: list[Ranking]) -> dict[str, TaskScores]:
    """By task; tasks without queries are left out."""
    found: dict[str, TaskScores] = {}
    by_page = suite.metric == "rprecision_page"
    for (name, corpus, queries, rows), ranking in zip(parts, rankings, strict=True):
        if len(rows):
            pages = suite.corpora[corpus].pages if by_page else None
            arrays = evaluate_task(ranking, Subset(queries, rows, pages), suite.corpora[corpus], suite.metric)
            found[name] = TaskScores([queries.ids[int(row)] for row in rows], arrays)
    return found


def _results(scores: Mapping[str, TaskScores]) -> dict[str, TaskResult]:
    return {name: task_result(task) for name, task in scores.items()}
