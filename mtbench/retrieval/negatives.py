"""Hard negatives: the passages that a search ranks high for a training query and that do not answer it.

Mining keeps the order of the ranking and takes out what is judged relevant; by choice also every other passage of a
gold page, which is likely to answer the query too. ``mtbench.data.negatives`` holds what is found and draws from it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import zip_longest
from typing import Literal, Protocol

import numpy as np

from mtbench.data.negatives import Negatives
from mtbench.data.page_rows import PageRows
from mtbench.errors import ConfigError
from mtbench.retrieval.ranking import Ranking

Exclude = Literal["passage", "page", "answer"]
HoldsAnswer = Callable[[int, np.ndarray], np.ndarray]
"""Which of some passages hold an answer of a query."""


class Queries(Protocol):
    """What mining needs to know of queries (``mtbench.data.prepared.PreparedQueries``)."""

    def __len__(self) -> int: ...
    def positives(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the relevant passages of query i and their relevance."""
        ...

    def gold_pages(self, i: int) -> list[np.ndarray] | None:
        """Evidence sets of query i, as page numbers; None if the task has none."""
        ...


class Passages(Protocol):
    """What mining needs to know of a corpus (``mtbench.data.prepared.PreparedCorpus``)."""

    pages: np.ndarray
    lengths: np.ndarray

    def __len__(self) -> int: ...
    def tokens(self, i: int) -> np.ndarray:
        """Token ids of passage i."""
        ...


def mine(
    ranking: Ranking,
    queries: Queries,
    corpus: Passages,
    *,
    depth: tuple[int, int] = (0, 100),
    per_query: int = 30,
    exclude: Exclude = "passage",
    not_negative: Callable[[int], np.ndarray] | None = None,
    holds_answer: HoldsAnswer | None = None,
) -> Negatives:
    """The first ``per_query`` passages of ranks ``depth[0] <= rank < depth[1]`` (from 0) that may be negatives.

    Judged passages are always taken out, with what else ``not_negative`` gives for a query (the judged ones among it);
    ``exclude="page"`` also takes out all passages that lie on a gold page or on the page of a judged passage,
    ``"answer"`` those that ``holds_answer`` names (None: a task whose answers are no spans of text). The order of the
    ranking is kept.

    ``stats``: ``num_queries``; ``fill_rate``, the mean share of ``per_query`` that was found; ``empty``, queries
    without any; ``short``, queries with fewer than ``per_query``; ``likely_false``, the share of the kept negatives
    that lie on such a page or have the very text of a judged passage; ``likely_false_candidates``, the same among all
    candidates in ``depth`` that are not judged, before pages are excluded.

    Raises ConfigError for a setting out of range, ValueError if ranking and queries differ in number.
    """
    _check(ranking, queries, depth, per_query, exclude)
    page_rows = PageRows(corpus.pages)
    indices = np.full((len(queries), per_query), -1, dtype=np.int32)
    forbidden: list[np.ndarray] = []
    candidates = suspicious = kept_suspicious = 0
    for query in range(len(queries)):
        positives = np.asarray(queries.positives(query)[0])
        pages = _gold_pages(queries, query, positives, corpus.pages)
        found = ranking.indices[query, depth[0] : depth[1]]
        found = found[found >= 0]
        barred = positives if not_negative is None else not_negative(query)
        found = found[~np.isin(found, barred)]
        on_page = np.isin(corpus.pages[found], pages)
        suspect = on_page | _same_text(corpus, found, positives)
        candidates, suspicious = candidates + len(found), suspicious + int(suspect.sum())
        out = on_page if exclude == "page" else np.zeros(len(found), dtype=bool)
        if exclude == "answer" and holds_answer is not None:
            out = holds_answer(query, found)
        left_out = found[out]
        found, suspect = found[~out], suspect[~out]
        count = min(per_query, len(found))
        indices[query, :count] = found[:count]
        kept_suspicious += int(suspect[:count].sum())
        if count == per_query:
            barred = np.empty(0, dtype=np.int32)
        elif exclude == "page":
            others = np.setdiff1d(barred, positives)  # the relevant ones lie on these pages
            barred = np.concatenate([page_rows.on(pages), others])
        elif exclude == "answer":  # among all others that may be drawn, some may hold an answer too
            barred = np.concatenate([barred, left_out])
        forbidden.append(barred)
    counts = (indices >= 0).sum(axis=1)
    stats = {
        "num_queries": len(queries),
        "fill_rate": float(counts.mean() / per_query) if len(counts) else 0.0,
        "empty": int((counts == 0).sum()),
        "short": int((counts < per_query).sum()),
        "likely_false": kept_suspicious / max(int(counts.sum()), 1),
        "likely_false_candidates": suspicious / max(candidates, 1),
    }
    starts = np.zeros(len(forbidden) + 1, dtype=np.int64)
    np.cumsum([len(rows) for rows in forbidden], out=starts[1:])
    rows = np.concatenate([*forbidden, np.empty(0, dtype=np.int32)]).astype(np.int32)
    return Negatives(indices, stats, len(corpus), starts, rows)


def in_turn(first: Ranking, second: Ranking) -> Ranking:
    """The two rankings' results in turn, best first, each passage once; ``first.k + second.k`` places. Scores are of no
    meaning between searches, so the places' are: 0, -1, -2 and so on."""
    places = first.k + second.k
    indices = np.full((len(first), places), -1, dtype=np.int32)
    for query in range(len(first)):
        rows = [r[query][r[query] >= 0].tolist() for r in (first.indices, second.indices)]
        both = [row for pair in zip_longest(*rows) for row in pair if row is not None]
        found = list(dict.fromkeys(both))
        indices[query, : len(found)] = found
    scores = np.broadcast_to(-np.arange(places, dtype=np.float32), indices.shape)
    return Ranking(indices, np.where(indices >= 0, scores, -np.inf).astype(np.float32))


def _check(ranking: Ranking, queries: Queries, depth: tuple[int, int], per_query: int, exclude: Exclude) -> None:
    if len(ranking) != len(queries):
        raise ValueError(f"the ranking has {len(ranking)} queries, the task {len(queries)}")
    if not 0 <= depth[0] < depth[1]:
        raise ConfigError(f"negatives.depth is {depth[0]}..{depth[1]}; it must be two ranks, 0 <= first < last")
    if per_query < 1:
        raise ConfigError(f"negatives.per_query is {per_query}; it must be 1 or more")
    if exclude not in ("passage", "page", "answer"):
        raise ConfigError(f"negatives.exclude is {exclude!r}; choose passage, page or answer")


def _gold_pages(queries: Queries, query: int, positives: np.ndarray, pages: np.ndarray) -> np.ndarray:
    """Page numbers on which a passage is likely to be relevant: of all evidence sets and all judged passages."""
    evidence = queries.gold_pages(query) or []
    return np.unique(np.concatenate([pages[positives], *evidence]).astype(np.int64))


def _same_text(corpus: Passages, rows: np.ndarray, positives: np.ndarray) -> np.ndarray:
    """Which of ``rows`` have the same tokens as a judged passage under another id: bool[len(rows)]."""
    same = np.zeros(len(rows), dtype=bool)
    lengths = corpus.lengths[rows]
    for positive in positives.tolist():
        text = corpus.tokens(positive)
        # Reading tokens costs a disk access; equal lengths are rare and already in memory.
        for place in np.flatnonzero(lengths == len(text)):
            same[place] |= np.array_equal(corpus.tokens(int(rows[place])), text)
    return same
