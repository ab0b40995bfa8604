"""Per-query retrieval metrics on integer arrays: what the ``evaluate`` stage computes.

Conventions. A ranking is best first; equal scores stand in the order of descending id (trec_eval's rule), which the
search already made so. A query without results scores 0 and counts, and so does one whose judgements say that
nothing is relevant, as under ``trec_eval -c``. A metric that is undefined for a query (no judgements, or no page sets)
is NaN there and left out of the mean; one that is undefined for the whole task is left out of the result.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

MetricArrays = dict[str, np.ndarray]
"""Metric name -> float64 ``(Q,)``."""


class RankingLike(Protocol):
    """Rows found for each query, best first, -1 where there is none: ``indices`` is int ``(Q, k)``."""

    @property
    def indices(self) -> np.ndarray: ...


class QueriesLike(Protocol):
    """Judged queries: relevant corpus rows with their grades, and sets of gold pages where the task has them."""

    def __len__(self) -> int: ...

    def positives(self, i: int, /) -> tuple[np.ndarray, np.ndarray]: ...

    def is_judged(self, i: int, /) -> bool: ...

    def gold_pages(self, i: int, /) -> list[np.ndarray] | None: ...


class CorpusLike(Protocol):
    """A corpus: its size and the page number of every row, ``pages`` is int ``(N,)``."""

    def __len__(self) -> int: ...

    @property
    def pages(self) -> np.ndarray: ...


def evaluate_task(ranking: RankingLike, queries: QueriesLike, corpus: CorpusLike, metric: str = "") -> MetricArrays:
    """All metrics of one task, per query, as fractions of 1: name -> float64 ``(Q,)``, NaN where undefined.

    Passage metrics are those of trec_eval (``Rprec``, ``recall``, ``recip_rank`` cut at 10, ``ndcg_cut.10`` with the
    grade as gain); page R-precision is KILT's (Petroni et al., NAACL 2021). A cut-off deeper than the ranking is left
    out unless the ranking covers the whole corpus: it would be too low without anyone seeing it. ``success@1`` (is the
    first passage relevant?) is there only if it is ``metric``, the suite's: other suites' records stay as they are.

    Raises ValueError if the ranking has not one row per query.
    """
    found = np.asarray(ranking.indices)
    if found.ndim != 2 or len(found) != len(queries):
        raise ValueError(f"a ranking of shape {found.shape} does not fit {len(queries)} queries")
    result: MetricArrays = {}
    pages = page_rprecision(found, queries, corpus.pages)
    if not np.isnan(pages).all():
        result["rprecision_page"] = pages
    counted = np.array([queries.is_judged(i) for i in range(len(queries))], dtype=bool)
    if not counted.any():
        return result
    relevant = [queries.positives(i) for i in range(len(queries))]
    sizes = np.array([len(rows) for rows, _ in relevant], dtype=np.int64)
    grades = _grades(found, relevant, sizes, len(corpus))
    scores = {"rprecision_passage": _rprecision(grades, sizes)}
    for name, depth in (("recall@20", 20), ("recall@100", 100)):
        if min(depth, len(corpus)) <= found.shape[1]:
            scores[name] = _over((grades[:, :depth] > 0).sum(axis=1), sizes)
    if min(10, len(corpus)) <= found.shape[1]:
        scores["mrr@10"] = _reciprocal_rank(grades[:, :10])
        scores["ndcg@10"] = _ndcg(grades[:, :10], relevant, depth=10)
    if metric == "success@1":
        scores[metric] = np.asarray((grades[:, :1] > 0).any(axis=1), dtype=np.float64)
    return result | {name: np.where(counted, values, np.nan) for name, values in scores.items()}


def summarise(per_query: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Mean of each metric over the queries for which it is defined; a metric that is defined for none is left out."""
    return {name: float(np.nanmean(values)) for name, values in per_query.items() if not np.isnan(values).all()}


def page_rprecision(found: np.ndarray, queries: QueriesLike, pages: np.ndarray) -> np.ndarray:
    """Page R-precision of KILT's ``eval_retrieval.py``, float64 ``(Q,)``; NaN for a query that has no KILT line.

    The pages of the passages found, repeated ones dropped (the first stays), are cut at the size R of a gold set;
    the share of the set among them is that set's score; the query's score is that of its best set. A KILT line whose
    outputs carry no provenance scores 0 and counts, as in the official script.
    """
    owner, query_of_set, gold = _gold_entries(queries)
    scores = np.full(len(found), np.nan)
    scores[[i for i in range(len(found)) if queries.gold_pages(i) is not None]] = 0.0
    if not len(gold):
        return scores
    sizes = np.bincount(owner, minlength=len(query_of_set))
    position = _page_positions(found, pages, query_of_set[owner], gold)
    hits = np.bincount(owner, weights=position < sizes[owner], minlength=len(query_of_set))
    np.maximum.at(scores, query_of_set, hits / np.maximum(sizes, 1))
    return scores


def _gold_entries(queries: QueriesLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All gold pages in one list: the set each belongs to, the query of each set, and the page."""
    query_of_set: list[int] = []
    parts: list[np.ndarray] = []
    for query in range(len(queries)):
        for pages in queries.gold_pages(query) or ():
            parts.append(np.unique(pages))
            query_of_set.append(query)
    owner = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    gold = np.concatenate(parts).astype(np.int64) if parts else np.empty(0, np.int64)
    return owner.astype(np.int64), np.array(query_of_set, dtype=np.int64), gold


def _page_positions(found: np.ndarray, pages: np.ndarray, query: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Rank of page ``wanted[j]`` for ``query[j]``, from 0 and with repeated pages dropped; infinite if absent."""
    rows, columns = np.nonzero(found >= 0)
    stride = int(pages.max(initial=0)) + 1
    keys = rows * stride + pages[found[rows, columns]].astype(np.int64)
    # The entries are in ranking order, so the first index of a key is the page's best passage.
    unique, first = np.unique(keys, return_index=True)
    is_first = np.zeros(len(keys), dtype=bool)
    is_first[first] = True
    distinct_before = np.cumsum(is_first) - is_first
    start = distinct_before[np.searchsorted(rows, rows[first])]
    rank = distinct_before[first] - start
    # A page that the corpus does not have is a negative number: it counts in R and is never found.
    present = (wanted >= 0) & (wanted < stride)
    target = query * stride + np.where(present, wanted, 0)
    slot = np.minimum(np.searchsorted(unique, target), max(len(unique) - 1, 0))
    if not len(unique):
        return np.full(len(wanted), np.inf)
    return np.where(present & (unique[slot] == target), rank[slot], np.inf)


def _grades(
    found: np.ndarray, judged: list[tuple[np.ndarray, np.ndarray]], sizes: np.ndarray, rows_in_corpus: int
) -> np.ndarray:
    """The grade of every passage found, int64 ``(Q, k)``: 0 where it is not judged relevant or absent."""
    query = np.repeat(np.arange(len(judged)), sizes)
    rows = np.concatenate([rows for rows, _ in judged]).astype(np.int64)
    relevance = np.concatenate([grade for _, grade in judged]).astype(np.int64)
    keys = query * rows_in_corpus + rows
    order = np.argsort(keys)
    keys, relevance = keys[order], relevance[order]
    wanted = np.arange(len(found))[:, None] * rows_in_corpus + found.astype(np.int64)
    if not len(keys):
        return np.zeros(found.shape, dtype=np.int64)
    slot = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where((found >= 0) & (keys[slot] == wanted), relevance[slot], 0)


def _over(hits: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """``hits / sizes``, 0 where a query has nothing that could be hit."""
    return np.divide(hits, sizes, out=np.zeros(len(hits)), where=sizes > 0)


def _rprecision(grades: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    within = np.arange(grades.shape[1])[None, :] < sizes[:, None]
    return _over(((grades > 0) & within).sum(axis=1), sizes)


def _reciprocal_rank(grades: np.ndarray) -> np.ndarray:
    relevant = grades > 0
    return np.where(relevant.any(axis=1), 1.0 / (relevant.argmax(axis=1) + 1), 0.0)


def _ndcg(grades: np.ndarray, judged: list[tuple[np.ndarray, np.ndarray]], depth: int) -> np.ndarray:
    """nDCG with the grade as gain and discount log2(rank + 1) (Järvelin and Kekäläinen 2002, as in trec_eval)."""
    discount = 1.0 / np.log2(np.arange(depth) + 2.0)
    gained = (grades * discount[: grades.shape[1]]).sum(axis=1)
    ideal = np.zeros((len(judged), depth))
    for i, (_, relevance) in enumerate(judged):
        best = np.sort(relevance)[::-1][:depth]
        ideal[i, : len(best)] = best
    return _over(gained, (ideal * discount).sum(axis=1))
