"""Hard negatives: the passages that a search ranks high for a training query and that do not answer it.

Mining keeps the order of the ranking and takes out what is judged relevant; by choice also every other passage of a
gold page, which is likely to answer the query too. Sampling for a step is a pure function of (seed, episode, epoch,
query), so that every optimizer sees the same negatives and a resumed run the same ones again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from mtbench.errors import ConfigError, DataError
from mtbench.retrieval.ranking import Ranking

Exclude = Literal["passage", "page"]
Mode = Literal["top", "random"]
_STREAM = 0x6E656741  # sets these draws apart from other users of the same seed


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


@dataclass(slots=True)
class Negatives:
    """The mined negatives of Q training queries over a corpus of ``num_passages``.

    ``indices`` int32[Q, n]: rows, best first, -1 where there are fewer. ``stats``: plain numbers (see :func:`mine`).
    ``forbidden_rows[forbidden_starts[i] : forbidden_starts[i + 1]]`` are the rows that may not be drawn for query i
    when its negatives do not suffice (empty for queries whose n negatives are all there).
    """

    indices: np.ndarray
    stats: dict[str, float]
    num_passages: int
    forbidden_starts: np.ndarray
    forbidden_rows: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)

    def save(self, folder: Path) -> None:
        """Writes three .npy files and ``negatives.json`` into ``folder``, which is made if needed."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("indices", "forbidden_starts", "forbidden_rows"):
            np.save(folder / f"{name}.npy", getattr(self, name))
        facts = {"num_passages": self.num_passages, "stats": self.stats}
        (folder / "negatives.json").write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Negatives:
        """Reads what :meth:`save` wrote; the arrays are memory-mapped."""
        facts: dict[str, Any] = json.loads((folder / "negatives.json").read_text())
        arrays = {
            name: np.load(folder / f"{name}.npy", mmap_mode="r")
            for name in ("indices", "forbidden_starts", "forbidden_rows")
        }
        return cls(stats=facts["stats"], num_passages=facts["num_passages"], **arrays)


def mine(
    ranking: Ranking,
    queries: Queries,
    corpus: Passages,
    *,
    depth: tuple[int, int] = (0, 100),
    per_query: int = 30,
    exclude: Exclude = "passage",
) -> Negatives:
    """The first ``per_query`` passages of ranks ``depth[0] <= rank < depth[1]`` (from 0) that may be negatives.

    Judged passages are always taken out; ``exclude="page"`` also takes out all passages that lie on a gold page or on
    the page of a judged passage. The order of the ranking is kept.

    ``stats``: ``num_queries``; ``fill_rate``, the mean share of ``per_query`` that was found; ``empty``, queries
    without any; ``short``, queries with fewer than ``per_query``; ``likely_false``, the share of the kept negatives
    that lie on such a page or have the very text of a judged passage; ``likely_false_candidates``, the same among all
    candidates in ``depth`` that are not judged, before pages are excluded.

    Raises ConfigError for a setting out of range, ValueError if ranking and queries differ in number.
    """
    _check(ranking, queries, depth, per_query, exclude)
    passages_of = _PassagesOfPages(corpus.pages)
    indices = np.full((len(queries), per_query), -1, dtype=np.int32)
    forbidden: list[np.ndarray] = []
    candidates = suspicious = kept_suspicious = 0
    for query in range(len(queries)):
        positives = np.asarray(queries.positives(query)[0])
        pages = _gold_pages(queries, query, positives, corpus.pages)
        found = ranking.indices[query, depth[0] : depth[1]]
        found = found[found >= 0]
        found = found[~np.isin(found, positives)]
        on_page = np.isin(corpus.pages[found], pages)
        suspect = on_page | _same_text(corpus, found, positives)
        candidates, suspicious = candidates + len(found), suspicious + int(suspect.sum())
        if exclude == "page":
            found, suspect = found[~on_page], suspect[~on_page]
        count = min(per_query, len(found))
        indices[query, :count] = found[:count]
        kept_suspicious += int(suspect[:count].sum())
        full = count == per_query
        forbidden.append(
            np.empty(0, dtype=np.int32) if full else positives if exclude == "passage" else passages_of(pages)
        )
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


def _check(ranking: Ranking, queries: Queries, depth: tuple[int, int], per_query: int, exclude: Exclude) -> None:
    if len(ranking) != len(queries):
        raise ValueError(f"the ranking has {len(ranking)} queries, the task {len(queries)}")
    if not 0 <= depth[0] < depth[1]:
        raise ConfigError(f"negatives.depth is {depth[0]}..{depth[1]}; it must be two ranks, 0 <= first < last")
    if per_query < 1:
        raise ConfigError(f"negatives.per_query is {per_query}; it must be 1 or more")
    if exclude not in ("passage", "page"):
        raise ConfigError(f"negatives.exclude is {exclude!r}; choose passage or page")


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


class _PassagesOfPages:
    """All passages of given pages, through an index that is made when first asked."""

    def __init__(self, pages: np.ndarray) -> None:
        self._pages = pages
        self._order: np.ndarray | None = None
        self._sorted = pages

    def __call__(self, wanted: np.ndarray) -> np.ndarray:
        if self._order is None:
            self._order = np.argsort(self._pages, kind="stable").astype(np.int32)
            self._sorted = self._pages[self._order]
        starts = np.searchsorted(self._sorted, wanted, side="left")
        stops = np.searchsorted(self._sorted, wanted, side="right")
        order = self._order
        parts = [order[start:stop] for start, stop in zip(starts, stops, strict=True)]
        return np.concatenate([np.empty(0, dtype=np.int32), *parts])


def sample_negatives(
    negatives: Negatives,
    query_rows: np.ndarray,
    n: int,
    *,
    mode: Mode = "top",
    seed: int = 0,
    episode: int = 0,
    epoch: int = 0,
) -> tuple[np.ndarray, int]:
    """n negatives for every query of a batch, int32[B, n], and how many of them had to be drawn from the corpus.

    ``mode="top"`` takes the first n, ``"random"`` n of the mined ones without replacement. Where fewer than n were
    mined, the rest is drawn uniformly from the passages that are allowed for the query (again, if even these are
    fewer). A pure function of its arguments: row i depends on (seed, episode, epoch, query_rows[i]) alone.

    Raises ConfigError if n is more than were mined per query, DataError if a query has no possible negative.
    """
    if not 1 <= n <= negatives.indices.shape[1]:
        raise ConfigError(
            f"train.hard_negatives is {n}; it must be from 1 to negatives.per_query ({negatives.indices.shape[1]})"
        )
    if mode not in ("top", "random"):
        raise ConfigError(f"negatives.sampling is {mode!r}; choose top or random")
    rows = np.empty((len(query_rows), n), dtype=np.int32)
    drawn = 0
    for place, query in enumerate(np.asarray(query_rows).tolist()):
        mined = negatives.indices[query]
        mined = mined[mined >= 0]
        if mode == "top" and len(mined) >= n:
            rows[place] = mined[:n]
            continue
        random = _generator(seed, episode, epoch, query)
        if len(mined) > n:
            mined = random.choice(mined, n, replace=False)
        if len(mined) < n:
            drawn += n - len(mined)
            mined = np.concatenate([mined, _draw(negatives, query, mined, n - len(mined), random)])
        rows[place] = mined[:n]
    return rows, drawn


def _generator(seed: int, episode: int, epoch: int, query: int) -> np.random.Generator:
    """A counter-based generator whose whole state is (seed, episode, epoch, query)."""
    key = np.array([seed, (_STREAM << 32) | episode], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, epoch, query]))


def _draw(negatives: Negatives, query: int, taken: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """``count`` different passages, uniformly from those that are neither forbidden for the query nor taken."""
    forbidden = negatives.forbidden_rows[slice(*negatives.forbidden_starts[query : query + 2])]
    avoided = np.unique(np.concatenate([forbidden, taken]))
    total = negatives.num_passages
    if total > 4 * (len(avoided) + count):
        found: list[int] = []
        blocked = set(avoided.tolist())
        while len(found) < count:  # at least 3 of 4 draws succeed
            row = int(random.integers(total))
            if row not in blocked:
                blocked.add(row)
                found.append(row)
        return np.array(found, dtype=np.int32)
    allowed = np.setdiff1d(np.arange(total), avoided)
    if len(allowed) >= count:
        return random.choice(allowed, count, replace=False).astype(np.int32)
    every = np.concatenate([allowed, taken])
    if len(every) == 0:
        raise DataError(
            f"training query {query} has no possible negative: all {total} passages of its corpus are relevant",
            remedy="Give the corpus more passages, or use negatives.exclude=passage.",
        )
    repeated = random.choice(every, count - len(allowed))
    return np.concatenate([random.permutation(allowed), repeated]).astype(np.int32)
