"""FAISS indexes behind the same result: ``flat`` (exact), ``ivf`` and ``hnsw`` (approximate), on CPU or GPU.

What FAISS returns are candidates. They are scored again by the fixed computation of ``products.dot_products`` and
ordered by the one tie rule, so that ``flat`` equals ``exact`` to the last bit. FAISS orders equal scores arbitrarily;
where passages beyond the candidates could still belong to the k best, ``flat`` asks for more, and in the end searches
the few remaining queries exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mtbench.retrieval.exact_search import search_exact
from mtbench.retrieval.faiss_library import import_faiss, openmp_threads, require_gpu
from mtbench.retrieval.products import TINY, check_range, checked_norms, dot_products, error_bound
from mtbench.retrieval.ranking import (
    NO_KEY,
    Ranking,
    key_scores,
    largest_keys,
    ranking_from_keys,
    rows_by_rank,
    sort_keys,
)
from mtbench.retrieval.vectors import Vectors, check_queries

if TYPE_CHECKING:
    import torch

NPROBE = 32
EF_SEARCH = 256
_SLACK = 32
_GPU_MAX_K = 2048
_QUERY_BLOCK = 1024
_ADD_BLOCK = 65536

_Part = tuple[np.ndarray, np.ndarray]
"""Vectors of some passages of one shard, and the passages' rows in the whole corpus."""


def search_faiss(
    queries: np.ndarray,
    corpus: Vectors,
    k: int,
    backend: str,
    *,
    query_groups: np.ndarray | None = None,
    device: str = "cpu",
) -> Ranking:
    """As :func:`mtbench.retrieval.search.search`, by the FAISS index ``flat``, ``ivf`` or ``hnsw``.

    ``flat`` holds one shard at a time in float32, ``ivf`` and ``hnsw`` the whole corpus (4 N d bytes and more).
    ``ivf`` has about 4 sqrt(N) cells of which :data:`NPROBE` are visited; ``hnsw`` has 32 links and searches with
    :data:`EF_SEARCH` candidates, at least 2 k. It is built by one thread, because its graph depends on the order of
    insertion. FAISS gets torch's number of threads.

    Raises EnvironmentMismatchError if FAISS is missing, or a GPU is asked for and the build or the device is not there.
    """
    check_queries(queries, corpus, k, query_groups)
    faiss, k = import_faiss(), int(k)
    on_gpu = device.startswith("cuda")
    if on_gpu:
        require_gpu(faiss, backend)
    queries = np.ascontiguousarray(queries, dtype=np.float32)
    norms = checked_norms(queries, "query")
    largest_norm = _largest_norm(corpus.shards)
    check_range(float(norms.max(initial=0)), largest_norm)
    keys = np.full((len(queries), k), NO_KEY, dtype=np.int64)
    with openmp_threads(faiss):
        for parts, rows in _parts(corpus, query_groups, len(queries), whole=backend != "flat"):
            indexed = _Indexed(parts, corpus.id_rank)
            if not len(rows) or not len(indexed):
                continue
            index = _build(faiss, backend, indexed, k, device if on_gpu else None)
            most = min(len(indexed), _GPU_MAX_K if on_gpu else len(indexed))
            for first in range(0, len(rows), _QUERY_BLOCK):
                some = rows[first : first + _QUERY_BLOCK]
                new = _best(index, indexed, queries[some], norms[some], k, most, certify=backend == "flat")
                keys[some] = largest_keys(np.concatenate([keys[some], new], axis=1), k)
    return ranking_from_keys(keys, rows_by_rank(corpus.id_rank))


def _largest_norm(shards: Sequence[np.ndarray]) -> float:
    largest, start = 0.0, 0
    for shard in shards:
        for first in range(0, len(shard), _ADD_BLOCK):
            norms = checked_norms(shard[first : first + _ADD_BLOCK], "passage", start + first)
            largest = max(largest, float(norms.max()))
        start += len(shard)
    return largest


class _Indexed:
    """The passages of one index: their embeddings shard by shard, and their rows in the whole corpus."""

    def __init__(self, parts: list[_Part], id_rank: np.ndarray) -> None:
        self.parts = parts
        self.rows = np.concatenate([rows for _, rows in parts])
        self.ranks = np.asarray(id_rank)[self.rows]
        self._starts = np.cumsum([0] + [len(rows) for _, rows in parts])
        self.largest_norm = max((float(checked_norms(v, "passage").max(initial=0)) for v, _ in parts), default=0.0)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def vectors(self) -> list[np.ndarray]:
        """float16 embeddings, one array per shard."""
        return [vectors for vectors, _ in self.parts]

    def gather(self, places: np.ndarray) -> np.ndarray:
        """Embeddings of the given passages of this index, [len(places), d]."""
        out = np.empty((len(places), self.parts[0][0].shape[1]), dtype=self.parts[0][0].dtype)
        for number, (vectors, _) in enumerate(self.parts):
            inside = (places >= self._starts[number]) & (places < self._starts[number + 1])
            out[inside] = vectors[places[inside] - self._starts[number]]
        return out


def _parts(
    corpus: Vectors, query_groups: np.ndarray | None, num_queries: int, *, whole: bool
) -> Iterator[tuple[list[_Part], np.ndarray]]:
    """What goes into one index each, and the queries that search it."""
    starts = np.cumsum([0] + [len(shard) for shard in corpus.shards])
    pieces = [(shard, np.arange(starts[i], starts[i + 1])) for i, shard in enumerate(corpus.shards) if len(shard)]
    selections: list[tuple[list[_Part], np.ndarray]] = [(pieces, np.arange(num_queries))]
    if query_groups is not None:
        selections = [
            (_of_group(pieces, np.asarray(corpus.groups), group), np.flatnonzero(query_groups == group))
            for group in np.unique(query_groups)
        ]
    for selected, queries in selections:
        if not selected:
            continue
        if whole:
            yield selected, queries
        else:
            for piece in selected:
                yield [piece], queries


def _of_group(pieces: list[_Part], groups: np.ndarray, group: int) -> list[_Part]:
    found = [(vectors, rows, groups[rows] == group) for vectors, rows in pieces]
    return [(vectors[mask], rows[mask]) for vectors, rows, mask in found if mask.any()]


def _build(faiss: Any, backend: str, corpus: _Indexed, k: int, gpu: str | None) -> Any:
    dimension = corpus.vectors[0].shape[1]
    if backend == "hnsw":
        index = faiss.IndexHNSWFlat(dimension, 32, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction, index.hnsw.efSearch = 200, max(EF_SEARCH, 2 * k)
    elif backend == "ivf":
        index = _trained_ivf(faiss, corpus, dimension)
    else:
        index = faiss.IndexFlatIP(dimension)
    if gpu is not None:
        number = int(gpu.partition(":")[2] or 0)
        resources = faiss.StandardGpuResources()
        index = faiss.index_cpu_to_gpu(resources, number, index)
        index.mtbench_resources = resources  # FAISS does not keep them alive
    threads = faiss.omp_get_max_threads()
    if backend == "hnsw":
        faiss.omp_set_num_threads(1)
    for vectors in corpus.vectors:
        for first in range(0, len(vectors), _ADD_BLOCK):
            index.add(np.ascontiguousarray(vectors[first : first + _ADD_BLOCK], dtype=np.float32))
    faiss.omp_set_num_threads(threads)
    return index


def _trained_ivf(faiss: Any, corpus: _Indexed, dimension: int) -> Any:
    cells = max(1, min(int(4 * np.sqrt(len(corpus))), len(corpus) // 39))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dimension), dimension, cells, faiss.METRIC_INNER_PRODUCT)
    index.nprobe = min(NPROBE, cells)
    sample = np.linspace(0, len(corpus) - 1, min(len(corpus), 64 * cells)).astype(np.int64)
    index.train(corpus.gather(sample).astype(np.float32))
    return index


def _best(
    index: Any, corpus: _Indexed, queries: np.ndarray, norms: np.ndarray, k: int, most: int, *, certify: bool
) -> np.ndarray:
    """Keys int64[Q, k] of the best passages of one index; with ``certify`` provably those of an exact search."""
    keys = np.full((len(queries), k), NO_KEY, dtype=np.int64)
    margin = norms * error_bound(corpus.largest_norm, queries.shape[1]) + TINY
    open_rows = np.arange(len(queries))
    depth = min(k + _SLACK, most)
    while len(open_rows):
        fast, places = index.search(queries[open_rows], depth)
        keys[open_rows] = largest_keys(_exact_keys(corpus, queries[open_rows], places), k)
        if not certify or depth == len(corpus):
            break
        # A passage that was left out scores at most the last fast score plus the margin.
        kth = key_scores(keys[open_rows, -1]).astype(np.float64)
        unsure = fast[:, -1].astype(np.float64) + 2 * margin[open_rows] >= kth
        open_rows = open_rows[unsure]
        if depth == most or depth > 16 * (k + _SLACK):
            keys[open_rows] = _exhaustive_keys(corpus, queries[open_rows], k)
            break
        depth = min(4 * depth, most)
    return keys


def _exact_keys(corpus: _Indexed, queries: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Keys int64[Q, m] of the candidates ``places`` (-1 for none), in any order."""
    keys = np.full(places.shape, NO_KEY, dtype=np.int64)
    size = max(2**22 // (places.shape[1] * queries.shape[1]), 1)
    for first in range(0, len(queries), size):
        rows, columns = np.nonzero(places[first : first + size] >= 0)
        found = places[first + rows, columns]
        scores = dot_products(_tensor(queries[first + rows]), _tensor(corpus.gather(found)))
        keys[first + rows, columns] = sort_keys(scores.numpy(), corpus.ranks[found])
    return keys


def _tensor(array: np.ndarray) -> torch.Tensor:
    import torch

    return torch.from_numpy(np.ascontiguousarray(array))


def _exhaustive_keys(corpus: _Indexed, queries: np.ndarray, k: int) -> np.ndarray:
    """Keys int64[Q, k] by the exact search, for queries with more near-equal passages than FAISS is asked for."""
    local_rank = np.argsort(np.argsort(corpus.ranks)).astype(np.int32)
    ranking = search_exact(queries, Vectors(corpus.vectors, local_rank), k)
    found = ranking.indices >= 0
    keys = np.full(ranking.indices.shape, NO_KEY, dtype=np.int64)
    keys[found] = sort_keys(ranking.scores[found], corpus.ranks[ranking.indices[found]])
    return keys
