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

from mtbench.retrieval.faiss_library import (
    faiss_builds,
    gpu_available,
    import_faiss,
    openmp_threads,
    require_gpu,
)
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
from mtbench.retrieval.search import search

if TYPE_CHECKING:
    import torch

__all__ = ["faiss_builds", "gpu_available", "search_faiss"]

_SLACK = 32
_GPU_MAX_K = 2048
_QUERY_BLOCK = 1024
_ADD_BLOCK = 65536


def search_faiss(
    queries: np.ndarray,
    shards: Sequence[np.ndarray],
    k: int,
    id_rank: np.ndarray,
    backend: str,
    *,
    device: str = "cpu",
    groups: np.ndarray | None = None,
    query_groups: np.ndarray | None = None,
    nprobe: int = 32,
    ef_search: int = 256,
    threads: int | None = None,
) -> Ranking:
    """As :func:`mtbench.retrieval.search.search`, by the FAISS index ``flat``, ``ivf`` or ``hnsw``.

    ``flat`` holds one shard at a time in float32, ``ivf`` and ``hnsw`` the whole corpus (4 N d bytes and more).
    ``ivf`` has about 4 sqrt(N) cells of which ``nprobe`` are visited; ``hnsw`` has 32 links and searches with
    ``ef_search``. It is built by one thread, because its graph depends on the order of insertion. ``threads`` is the
    number of FAISS's OpenMP threads (torch's setting if not given).

    Raises EnvironmentMismatchError if FAISS is missing, or a GPU is asked for and the build or the device is not there.
    """
    faiss, k = import_faiss(), int(k)
    on_gpu = device.startswith("cuda")
    if on_gpu:
        require_gpu(faiss, backend)
    queries = np.ascontiguousarray(queries, dtype=np.float32)
    norms = checked_norms(queries, "query")
    largest_norm = _largest_norm(shards)
    check_range(float(norms.max(initial=0)), largest_norm)
    keys = np.full((len(queries), k), NO_KEY, dtype=np.int64)
    with openmp_threads(faiss, threads):
        for parts, rows in _parts(shards, groups, query_groups, len(queries), whole=backend != "flat"):
            corpus = _Corpus(parts, id_rank, largest_norm)
            if not len(rows) or not len(corpus):
                continue
            index = _build(faiss, backend, corpus, nprobe, max(ef_search, 2 * k), device if on_gpu else None)
            most = min(len(corpus), _GPU_MAX_K if on_gpu else len(corpus))
            for first in range(0, len(rows), _QUERY_BLOCK):
                some = rows[first : first + _QUERY_BLOCK]
                new = _best(index, corpus, queries[some], norms[some], k, most, certify=backend == "flat")
                keys[some] = largest_keys(np.concatenate([keys[some], new], axis=1), k)
    return ranking_from_keys(keys, rows_by_rank(id_rank))


def _largest_norm(shards: Sequence[np.ndarray]) -> float:
    largest, start = 0.0, 0
    for shard in shards:
        for first in range(0, len(shard), _ADD_BLOCK):
            norms = checked_norms(shard[first : first + _ADD_BLOCK], "passage", start + first)
            largest = max(largest, float(norms.max()))
        start += len(shard)
    return largest


class _Corpus:
    """The passages of one index: their embeddings shard by shard, and their rows in the whole corpus."""

    def __init__(self, parts: list[tuple[np.ndarray, np.ndarray]], id_rank: np.ndarray, largest_norm: float) -> None:
        self.parts = parts
        self.largest_norm = largest_norm
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
    shards: Sequence[np.ndarray],
    groups: np.ndarray | None,
    query_groups: np.ndarray | None,
    num_queries: int,
    *,
    whole: bool,
) -> Iterator[tuple[list[tuple[np.ndarray, np.ndarray]], np.ndarray]]:
    """What goes into one index each (embeddings and rows per shard) and the queries that search it."""
    starts = np.cumsum([0] + [len(shard) for shard in shards])
    pieces = [(shard, np.arange(starts[i], starts[i + 1])) for i, shard in enumerate(shards) if len(shard)]
    every = np.arange(num_queries)
    selections: list[tuple[list[tuple[np.ndarray, np.ndarray]], np.ndarray]] = [(pieces, every)]
    if groups is not None and query_groups is not None:
        selections = [
            (_of_group(pieces, np.asarray(groups), group), np.flatnonzero(query_groups == group))
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


def _of_group(
    pieces: list[tuple[np.ndarray, np.ndarray]], groups: np.ndarray, group: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    found = [(vectors, rows, groups[rows] == group) for vectors, rows in pieces]
    return [(vectors[mask], rows[mask]) for vectors, rows, mask in found if mask.any()]


def _build(faiss: Any, backend: str, corpus: _Corpus, nprobe: int, ef_search: int, gpu: str | None) -> Any:
    dimension = corpus.vectors[0].shape[1]
    if backend == "hnsw":
        index = faiss.IndexHNSWFlat(dimension, 32, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction, index.hnsw.efSearch = 200, ef_search
    elif backend == "ivf":
        index = _trained_ivf(faiss, corpus, dimension, nprobe)
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


def _trained_ivf(faiss: Any, corpus: _Corpus, dimension: int, nprobe: int) -> Any:
    cells = max(1, min(int(4 * np.sqrt(len(corpus))), len(corpus) // 39))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dimension), dimension, cells, faiss.METRIC_INNER_PRODUCT)
    index.nprobe = min(nprobe, cells)
    sample = np.linspace(0, len(corpus) - 1, min(len(corpus), 64 * cells)).astype(np.int64)
    index.train(corpus.gather(sample).astype(np.float32))
    return index


def _best(
    index: Any, corpus: _Corpus, queries: np.ndarray, norms: np.ndarray, k: int, most: int, *, certify: bool
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


def _exact_keys(corpus: _Corpus, queries: np.ndarray, places: np.ndarray) -> np.ndarray:
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


def _exhaustive_keys(corpus: _Corpus, queries: np.ndarray, k: int) -> np.ndarray:
    """Keys int64[Q, k] by the exact search, for queries with more near-equal passages than FAISS is asked for."""
    local_rank = np.argsort(np.argsort(corpus.ranks)).astype(np.int32)
    ranking = search(queries, corpus.vectors, k, local_rank)
    found = ranking.indices >= 0
    keys = np.full(ranking.indices.shape, NO_KEY, dtype=np.int64)
    keys[found] = sort_keys(ranking.scores[found], corpus.ranks[ranking.indices[found]])
    return keys
