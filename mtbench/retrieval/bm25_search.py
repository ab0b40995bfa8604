"""BM25 search over the index of ``mtbench.retrieval.bm25``."""

from __future__ import annotations

import json
import re
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from mtbench.errors import StoreError
from mtbench.processes import ProcessPool, processors
from mtbench.retrieval.bm25 import SCHEMA, Analyzer, shard_name
from mtbench.retrieval.ranking import (
    NO_KEY,
    Ranking,
    key_scores,
    largest_keys,
    ranking_from_keys,
    rows_by_rank,
    sort_keys,
)

_MARKERS = re.compile(r"\[SEP\]|\[START_ENT\]|\[END_ENT\]")
_Terms = list[tuple[int, int]]
"""A query's known terms, each with the number of its occurrences."""
WORTHWHILE = 10_000_000_000
"""Queries times passages from which on starting processes pays."""


def search_bm25(
    folder: Path,
    queries: Sequence[str],
    k: int,
    id_rank: np.ndarray,
    *,
    groups: np.ndarray | None = None,
    query_groups: np.ndarray | None = None,
    workers: int | None = None,
) -> Ranking:
    """The k best passages for every query: a :class:`Ranking` of shape (Q, k), equal scores by id descending.

    Only passages that share a term with the query are results (score > 0), so a query that is empty or has only
    unknown words has none. The literal markers ``[SEP]``, ``[START_ENT]``, ``[END_ENT]`` in queries are no words.
    ``id_rank`` is int32[N]. With ``groups`` (int32[N]) and ``query_groups`` (int32[Q]) a query sees only the passages
    of its own group. Large searches are divided among ``workers`` processes (default:
    :func:`mtbench.processes.processors`), which changes no result.

    Raises StoreError if ``folder`` holds no complete index, ValueError if ``id_rank`` does not fit it.
    """
    index = _open(folder)
    if len(id_rank) != index["num_passages"]:
        raise ValueError(f"id_rank has {len(id_rank)} entries, the index {index['num_passages']} passages")
    if (groups is None) != (query_groups is None):
        raise ValueError("groups and query_groups belong together")
    terms = list(_query_terms(folder, index, queries))
    workers = workers or processors()
    search = (folder, index["shards"], terms, k, id_rank, groups, query_groups)
    divide = workers > 1 and len(terms) * len(id_rank) >= WORTHWHILE
    keys = _search_in_processes(*search, workers) if divide else _search(*search)
    return ranking_from_keys(keys, rows_by_rank(id_rank))


def _search(
    folder: Path,
    shards: Sequence[int],
    terms: Sequence[_Terms],
    k: int,
    id_rank: np.ndarray,
    groups: np.ndarray | None,
    query_groups: np.ndarray | None,
) -> np.ndarray:
    """The sort keys int64[Q, k] of all queries, shard after shard."""
    keys = np.full((len(terms), k), NO_KEY, dtype=np.int64)
    start = 0
    for number, size in enumerate(shards):
        rows = slice(start, start + size)
        shard_groups = None if groups is None else groups[rows]
        _search_shard(folder / shard_name(number), terms, keys, id_rank[rows], shard_groups, query_groups)
        start += size
    return keys


def _search_in_processes(
    folder: Path,
    shards: Sequence[int],
    terms: Sequence[_Terms],
    k: int,
    id_rank: np.ndarray,
    groups: np.ndarray | None,
    query_groups: np.ndarray | None,
    workers: int,
) -> np.ndarray:
    """:func:`_search` with the queries divided among processes; index and ranks are mapped, not copied."""
    edges = np.linspace(0, len(terms), min(4 * workers, len(terms)) + 1).astype(int)
    with tempfile.TemporaryDirectory() as name, ProcessPool(workers) as pool:
        scratch = Path(name)
        np.save(scratch / "id_rank.npy", id_rank)
        if groups is not None:
            np.save(scratch / "groups.npy", groups)
        try:
            parts = [
                pool.submit(
                    _search_part, scratch, folder, shards, terms[low:high], k,
                    None if query_groups is None else query_groups[low:high],
                )
                for low, high in pairwise(edges)
            ]  # fmt: skip
            return np.concatenate([part.result() for part in parts])
        except BrokenProcessPool as error:  # killed for memory, most likely
            warnings.warn(f"a process of the BM25 search ended; one process goes on alone: {error}", stacklevel=2)
            return _search(folder, shards, terms, k, id_rank, groups, query_groups)


def _search_part(
    scratch: Path, folder: Path, shards: Sequence[int], terms: Sequence[_Terms], k: int, query_groups: np.ndarray | None
) -> np.ndarray:
    id_rank = np.load(scratch / "id_rank.npy", mmap_mode="r")
    groups = None if query_groups is None else np.load(scratch / "groups.npy", mmap_mode="r")
    return _search(folder, shards, terms, k, id_rank, groups, query_groups)


def _open(folder: Path) -> dict[str, Any]:
    try:
        index: dict[str, Any] = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{folder} holds no complete BM25 index ({error}); build it again") from error
    if index.get("schema") != SCHEMA:
        raise StoreError(f"{folder} holds a BM25 index of another version of mtbench; build it again")
    return index


def _query_terms(folder: Path, index: dict[str, Any], queries: Sequence[str]) -> Iterator[_Terms]:
    """Per query its known terms in order of appearance, each with the number of its occurrences."""
    words = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
    vocabulary = {word: number for number, word in enumerate(words)}
    analyzer = Analyzer.of(index)
    for query in queries:
        counts: dict[int, int] = {}
        for term in analyzer(_MARKERS.sub(" ", query)):
            if (number := vocabulary.get(term)) is not None:
                counts[number] = counts.get(number, 0) + 1
        yield list(counts.items())


def _search_shard(
    folder: Path,
    terms: Sequence[_Terms],
    keys: np.ndarray,
    ranks: np.ndarray,
    groups: np.ndarray | None,
    query_groups: np.ndarray | None,
) -> None:
    """Merges one shard's results into ``keys`` (int64[Q, k], descending)."""
    data, indices, indptr = (
        np.asarray(np.load(folder / f"{name}.csc.index.npy", mmap_mode="r")) for name in ("data", "indices", "indptr")
    )
    scores = np.zeros(len(ranks), dtype=np.float32)
    k = keys.shape[1]
    floors = key_scores(keys[:, -1])
    for query, known in enumerate(terms):
        # Terms that first occur in a later shard are beyond this shard's columns.
        columns = [(slice(*indptr[t : t + 2]), count) for t, count in known if t < len(indptr) - 1]
        for column, count in columns:
            scores[indices[column]] += np.float32(count) * data[column]
        # what is below the last of k results cannot become one; what equals it may, by its id
        rows = np.flatnonzero(scores >= floors[query] if floors[query] > 0 else scores)
        if groups is not None and query_groups is not None:
            rows = rows[groups[rows] == query_groups[query]]
        if len(rows) > k:
            values = scores[rows]
            rows = rows[values >= np.partition(values, len(values) - k)[len(values) - k]]
        if len(rows):
            merged = np.concatenate([keys[query], sort_keys(scores[rows], ranks[rows])])[None]
            keys[query] = largest_keys(merged, k)[0]
        scores.fill(0)
