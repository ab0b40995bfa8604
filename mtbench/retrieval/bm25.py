"""BM25 (Robertson and Zaragoza 2009, in Lucene's form) over a sharded, memory-mapped index.

bm25s stores, per term, the finished score of every passage that has it, so that a query is a sum of columns. The
index is built here shard by shard: a first pass counts terms, and only when the whole corpus has been seen are the
counts turned into scores, with document frequencies and mean length of the *whole* corpus. Results therefore do not
depend on ``shard_size``, and memory depends on it alone. Each shard is a folder that ``bm25s.BM25.load`` opens.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice, pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from mtbench.errors import ConfigError, StoreError
from mtbench.retrieval.ranking import (
    NO_KEY,
    Ranking,
    key_scores,
    largest_keys,
    ranking_from_keys,
    rows_by_rank,
    sort_keys,
)

# Lucene's and bm25s's English list, pinned here so that a new release of a library changes no result.
_ENGLISH = """
a an and are as at be but by for if in into is it no not of on or such that the their then there these they this to
was will with
"""
STOPWORDS = {"none": frozenset[str](), "english": frozenset(_ENGLISH.split())}
_WORD = re.compile(r"(?u)\b\w\w+\b")
_MARKERS = re.compile(r"\[SEP\]|\[START_ENT\]|\[END_ENT\]")
_SCHEMA = 1
_Terms = list[tuple[int, int]]
"""A query's known terms, each with the number of its occurrences."""
WORTHWHILE = 10_000_000_000
"""Queries times passages from which on starting processes pays."""


class Analyzer:
    """Text to terms: lower case, words of two or more characters, stop words out, Snowball stems."""

    def __init__(self, stemmer: str = "english", stopwords: str | Sequence[str] = "english") -> None:
        self._stopwords = _stopword_set(stopwords)
        self._stem = _stemmer(stemmer)
        self._stems: dict[str, str] = {}

    def __call__(self, text: str) -> list[str]:
        """The terms of ``text`` in order, repeated as often as they occur."""
        terms = []
        for word in _WORD.findall(text.lower()):
            if word in self._stopwords:
                continue
            stem = self._stems.get(word)
            if stem is None:
                stem = self._stems[word] = self._stem(word)
            terms.append(stem)
        return terms


def _stopword_set(stopwords: str | Sequence[str]) -> frozenset[str]:
    if not isinstance(stopwords, str):
        return frozenset(stopwords)
    if stopwords not in STOPWORDS:
        raise ConfigError(f"bm25.stopwords is {stopwords!r}; choose {' or '.join(STOPWORDS)}, or give a list of words")
    return STOPWORDS[stopwords]


def _stemmer(name: str) -> Callable[[str], str]:
    if name == "none":
        return lambda word: word
    import Stemmer

    if name not in Stemmer.algorithms():
        raise ConfigError(f"bm25.stemmer is {name!r}; choose none, {', '.join(sorted(Stemmer.algorithms()))}")
    stem: Callable[[str], str] = Stemmer.Stemmer(name).stemWord
    return stem


def build_bm25(
    texts: Iterable[str],
    folder: Path,
    *,
    k1: float = 0.9,
    b: float = 0.4,
    stemmer: str = "english",
    stopwords: str | Sequence[str] = "english",
    shard_size: int = 200_000,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Writes the index of ``texts`` (one per passage, in the order of the corpus's rows) into ``folder``.

    The score of a term with frequency f in a passage of length l is idf * f / (f + k1 (1 - b + b l / mean l)) with
    idf = ln(1 + (N - df + 0.5) / (df + 0.5)). ``stemmer`` is a Snowball language or ``none``, ``stopwords`` a name of
    :data:`STOPWORDS` or the words themselves. Memory grows with ``shard_size`` (passages; about 2.5 kB each) and the
    number of distinct terms. ``progress`` is called with the number of passages of each shard that is counted.

    Raises ConfigError for a setting out of range.
    """
    _check(k1, b, shard_size)
    folder.mkdir(parents=True, exist_ok=True)
    analyzer = Analyzer(stemmer, stopwords)
    vocabulary: dict[str, int] = {}
    frequencies = np.zeros(0, dtype=np.int64)
    sizes: list[int] = []
    total_length = 0
    remaining = iter(texts)
    while shard := list(islice(remaining, shard_size)):
        token_of, lengths = _count(shard, analyzer, vocabulary, folder / _shard_name(len(sizes)))
        counts = np.bincount(token_of, minlength=len(vocabulary))
        counts[: len(frequencies)] += frequencies
        frequencies = counts
        total_length += int(lengths.sum())
        sizes.append(len(shard))
        if progress is not None:
            progress(len(shard))
    passages = sum(sizes)
    idf = np.log1p((passages - frequencies + 0.5) / (frequencies + 0.5))
    mean_length = total_length / passages if total_length else 1.0
    for number, size in enumerate(sizes):
        _score_shard(folder / _shard_name(number), idf, mean_length, k1, b, size)
    (folder / "vocabulary.json").write_text(json.dumps(list(vocabulary)), encoding="utf-8")
    words = stopwords if isinstance(stopwords, str) else sorted(stopwords)
    parameters = {"k1": k1, "b": b, "stemmer": stemmer, "stopwords": words}
    index = {"schema": _SCHEMA, **parameters, "num_passages": passages, "shards": sizes}
    (folder / "index.json").write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


def _check(k1: float, b: float, shard_size: int) -> None:
    if not k1 >= 0:
        raise ConfigError(f"bm25.k1 is {k1}; it must be 0 or more")
    if not 0 <= b <= 1:
        raise ConfigError(f"bm25.b is {b}; it must be from 0 to 1")
    if shard_size < 1:
        raise ConfigError(f"bm25.shard_size is {shard_size}; it must be 1 or more")


def _shard_name(number: int) -> str:
    return f"shard-{number:05d}"


def _count(
    texts: list[str], analyzer: Analyzer, vocabulary: dict[str, int], folder: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Term frequencies of one shard, written in column order; returns the term of each entry and the lengths."""
    tokens: list[np.ndarray] = []
    for text in texts:
        ids = [vocabulary.setdefault(term, len(vocabulary)) for term in analyzer(text)]
        tokens.append(np.array(ids, dtype=np.int32))
    lengths = np.array([len(ids) for ids in tokens], dtype=np.int32)
    # One sorted key per (term, passage) pair is the order of a matrix stored by columns.
    flat = np.concatenate(tokens).astype(np.int64)
    keys, counts = np.unique((flat << 32) | np.repeat(np.arange(len(texts)), lengths), return_counts=True)
    token_of = keys >> 32
    starts = np.zeros(len(vocabulary) + 1, dtype=np.int64)
    np.cumsum(np.bincount(token_of, minlength=len(vocabulary)), out=starts[1:])
    folder.mkdir(exist_ok=True)
    np.save(folder / "counts.npy", counts.astype(np.int32))
    np.save(folder / "lengths.npy", lengths)
    np.save(folder / "indices.npy", (keys & 0xFFFFFFFF).astype(np.int32))
    np.save(folder / "indptr.npy", starts)
    return token_of, lengths


def _score_shard(folder: Path, idf: np.ndarray, mean_length: float, k1: float, b: float, passages: int) -> None:
    """Turns the counts of one shard into scores and stores them as a bm25s index."""
    import bm25s

    counts, lengths, indices, indptr = (
        np.load(folder / f"{name}.npy") for name in ("counts", "lengths", "indices", "indptr")
    )
    saturation = k1 * (1 - b + b * lengths / mean_length)
    scores = counts / (counts + saturation[indices]) * np.repeat(idf[: len(indptr) - 1], np.diff(indptr))
    index = bm25s.BM25(k1=k1, b=b, method="lucene")
    index.scores = {
        "data": scores.astype(np.float32),
        "indices": indices,
        "indptr": indptr,
        "num_docs": passages,
    }
    index.vocab_dict = {}  # one vocabulary for all shards stands beside them
    index.nonoccurrence_array = None
    index.save(folder, show_progress=False)
    for name in ("counts", "lengths", "indices", "indptr"):
        (folder / f"{name}.npy").unlink()


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
    of its own group. Large searches are divided among ``workers`` processes (default: one per processor), which
    changes no result.

    Raises StoreError if ``folder`` holds no complete index, ValueError if ``id_rank`` does not fit it.
    """
    index = _open(folder)
    if len(id_rank) != index["num_passages"]:
        raise ValueError(f"id_rank has {len(id_rank)} entries, the index {index['num_passages']} passages")
    if (groups is None) != (query_groups is None):
        raise ValueError("groups and query_groups belong together")
    terms = list(_query_terms(folder, index, queries))
    workers = workers or _processors()
    search = (folder, index["shards"], terms, k, id_rank, groups, query_groups)
    divide = workers > 1 and len(terms) * len(id_rank) >= WORTHWHILE
    keys = _search_in_processes(*search, workers) if divide else _search(*search)
    return ranking_from_keys(keys, rows_by_rank(id_rank))


def _processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
        _search_shard(folder / _shard_name(number), terms, keys, id_rank[rows], shard_groups, query_groups)
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
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
    with tempfile.TemporaryDirectory() as name:
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
        except BrokenProcessPool:
            # killed for memory, or started by a script whose main module cannot be imported again
            return _search(folder, shards, terms, k, id_rank, groups, query_groups)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


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
    if index.get("schema") != _SCHEMA:
        raise StoreError(f"{folder} holds a BM25 index of another version of mtbench; build it again")
    return index


def _query_terms(folder: Path, index: dict[str, Any], queries: Sequence[str]) -> Iterator[_Terms]:
    """Per query its known terms in order of appearance, each with the number of its occurrences."""
    words = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
    vocabulary = {word: number for number, word in enumerate(words)}
    analyzer = Analyzer(index["stemmer"], index["stopwords"])
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
