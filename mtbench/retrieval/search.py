"""Exact search: the k passages with the largest dot product, one pass over the corpus for all queries.

A float32 matrix product is fast, but its last bits change with the shape of the blocks, the library and the device,
and with them the order of near-equal passages. So the product only nominates: every passage whose fast score is
within the product's rounding error of the k-th best is scored once more by :func:`dot_products`, whose result depends
on the two vectors alone. The rounding error is bounded by (Higham 2002, eq. 3.5)
|fl(q.c) - q.c| <= d u / (1 - d u) |q| |c| for any order of summation, u = 2**-24. Hence the ranking is a pure
function of the vectors: independent of shards, blocks, threads and device, with ties broken by id descending.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from mtbench.errors import ConfigError
from mtbench.retrieval.products import (
    TINY,
    check_range,
    checked_norms,
    dot_products,
    error_bound,
    tensor_keys,
    tensor_scores,
)
from mtbench.retrieval.ranking import NO_KEY, Ranking, ranking_from_keys, rows_by_rank

if TYPE_CHECKING:
    import torch

BACKENDS = ("exact", "flat", "ivf", "hnsw")
Backend = Literal["exact", "flat", "ivf", "hnsw"]
_GROUP = 32
"""Passages whose largest score is looked at first: most groups have none that matters."""
_PAIR_ELEMENTS = 2**22
"""Numbers that exact scoring holds at once (float64, and as many again)."""


def search(
    queries: np.ndarray,
    shards: Sequence[np.ndarray],
    k: int,
    id_rank: np.ndarray,
    *,
    backend: Backend = "exact",
    device: str = "cpu",
    groups: np.ndarray | None = None,
    query_groups: np.ndarray | None = None,
    chunk_rows: int | None = None,
    query_rows: int | None = None,
) -> Ranking:
    """The k best passages by dot product for every query, as a :class:`Ranking` of shape (Q, k).

    ``queries`` float32[Q, d]; ``shards`` float16[N_s, d] (memory-mapped or not), together the corpus in the order of
    its rows; ``id_rank`` int32[N]. With ``groups`` (int32[N]) and ``query_groups`` (int32[Q]) a query sees only the
    passages of its own group. ``backend``: ``exact`` (this module, torch) or FAISS ``flat`` (equal results), ``ivf``,
    ``hnsw`` (approximate). ``device`` is torch's name, ``cpu`` or ``cuda``. ``chunk_rows`` and ``query_rows`` bound
    the block that is multiplied at once; they change speed and memory, never the result.

    Raises RunError if a vector is not finite or a score would overflow, ConfigError for an unknown backend.
    """
    if backend not in BACKENDS:
        raise ConfigError(f"search.backend is {backend!r}; choose {', '.join(BACKENDS)}")
    _check_shapes(queries, shards, k, id_rank, groups, query_groups)
    if backend != "exact":
        from mtbench.retrieval.faiss_search import search_faiss

        return search_faiss(
            queries, shards, k, id_rank, backend, device=device, groups=groups, query_groups=query_groups
        )
    state = _State(queries, k, id_rank, device, groups, query_groups, query_rows)
    with _full_precision():
        for start, chunk in _chunks(shards, chunk_rows or state.default_chunk_rows):
            state.add(start, chunk)
    return state.ranking()


def _check_shapes(
    queries: np.ndarray,
    shards: Sequence[np.ndarray],
    k: int,
    id_rank: np.ndarray,
    groups: np.ndarray | None,
    query_groups: np.ndarray | None,
) -> None:
    if k < 1:
        raise ConfigError(f"the number of results k is {k}; it must be 1 or more")
    passages = sum(len(shard) for shard in shards)
    if len(id_rank) != passages:
        raise ValueError(f"id_rank has {len(id_rank)} entries, the shards {passages} passages")
    if any(shard.shape[1] != queries.shape[1] for shard in shards):
        raise ValueError(f"queries have {queries.shape[1]} dimensions, the shards {[s.shape[1] for s in shards]}")
    if (groups is None) != (query_groups is None):
        raise ValueError("groups and query_groups belong together")
    if groups is None or query_groups is None:
        return
    if len(groups) != passages or len(query_groups) != len(queries):
        raise ValueError("groups needs one number per passage, query_groups one per query")


def _chunks(shards: Sequence[np.ndarray], rows: int) -> Iterator[tuple[int, np.ndarray]]:
    """Blocks of at most ``rows`` passages, read from disk once, each with the row of its first passage."""
    start = 0
    for shard in shards:
        for offset in range(0, len(shard), rows):
            yield start + offset, np.array(shard[offset : offset + rows])
        start += len(shard)


@contextmanager
def _full_precision() -> Iterator[None]:
    """Products in true float32: TF32 and bf16 would break the error bound. Restores the caller's setting."""
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_float32_matmul_precision(before)


@dataclass
class _Passages:
    """A chunk of the corpus, filled up with zeros to a multiple of ``_GROUP`` rows; ``count`` are real."""

    single: torch.Tensor
    double: torch.Tensor
    count: int


@dataclass
class _Block:
    """Some queries (grouped together), their running best keys and the place they came from."""

    queries: torch.Tensor
    double: torch.Tensor
    norms: torch.Tensor
    groups: torch.Tensor | None
    keys: torch.Tensor
    rows: np.ndarray


class _State:
    """The running k best of all queries while the corpus goes by."""

    def __init__(
        self,
        queries: np.ndarray,
        k: int,
        id_rank: np.ndarray,
        device: str,
        groups: np.ndarray | None,
        query_groups: np.ndarray | None,
        query_rows: int | None,
    ) -> None:
        import torch

        self.device = torch.device(device)
        on_gpu = self.device.type == "cuda"
        self.default_chunk_rows = 65536 if on_gpu else 8192
        self.k, self.dimension, self.num_queries = int(k), queries.shape[1], len(queries)
        self.id_rank = id_rank
        self.groups = groups
        norms = checked_norms(np.asarray(queries, dtype=np.float32), "query")
        self.largest_query = float(norms.max(initial=0.0))
        order = np.arange(len(queries)) if query_groups is None else np.argsort(query_groups, kind="stable")
        size = query_rows or (4096 if on_gpu else 512)
        self.blocks = []
        for first in range(0, len(queries), size):
            rows = order[first : first + size]
            vectors = torch.from_numpy(np.array(queries[rows], dtype=np.float32))
            self.blocks.append(
                _Block(
                    queries=vectors.to(self.device),
                    double=vectors.to(self.device, torch.float64),
                    norms=torch.from_numpy(norms[rows]).to(self.device),
                    groups=None
                    if query_groups is None
                    else torch.from_numpy(np.array(query_groups[rows])).to(self.device),
                    keys=torch.full((len(rows), k), NO_KEY, dtype=torch.int64, device=self.device),
                    rows=rows,
                )
            )

    def add(self, start: int, chunk: np.ndarray) -> None:
        """Takes in the passages ``start``, ``start + 1``, ... whose embeddings are ``chunk``."""
        import torch

        largest = float(checked_norms(chunk, "passage", start).max(initial=0.0))
        check_range(self.largest_query, largest)
        padded = np.zeros((-(-len(chunk) // _GROUP) * _GROUP, self.dimension), dtype=chunk.dtype)
        padded[: len(chunk)] = chunk
        half = torch.from_numpy(padded).to(self.device)
        passages = _Passages(half.to(torch.float32), half.to(torch.float64), len(chunk))
        stop = start + len(chunk)
        ranks = torch.from_numpy(np.array(self.id_rank[start:stop], dtype=np.int64)).to(self.device)
        groups = None
        if self.groups is not None:
            groups = torch.from_numpy(np.array(self.groups[start:stop])).to(self.device)
        for block in self.blocks:
            self._add_to(block, passages, ranks, groups, largest)

    def _add_to(
        self,
        block: _Block,
        passages: _Passages,
        ranks: torch.Tensor,
        groups: torch.Tensor | None,
        largest: float,
    ) -> None:
        import torch

        seen = None
        if groups is not None and block.groups is not None:
            seen = block.groups[:, None] == groups[None]
            if not bool(seen.any()):
                return
        fast = block.queries @ passages.single.T
        fast[:, passages.count :] = -torch.inf
        if seen is not None:
            fast[:, : passages.count].masked_fill_(~seen, -torch.inf)
        margin = block.norms * error_bound(largest, self.dimension) + TINY
        rows, columns = _nominate(fast, block.keys[:, -1], margin, self.k)
        if len(rows):
            scores = _exact_scores(block.double, passages.double, rows, columns)
            new = _pad_rows(tensor_keys(scores, ranks[columns]), rows, len(block.keys))
            merged = torch.cat([block.keys, new], dim=1)
            block.keys = merged.topk(self.k, dim=1).values

    def ranking(self) -> Ranking:
        """What has been found so far."""
        keys = np.full((self.num_queries, self.k), NO_KEY, dtype=np.int64)
        for block in self.blocks:
            keys[block.rows] = block.keys.cpu().numpy()
        return ranking_from_keys(keys, rows_by_rank(self.id_rank))


def _nominate(
    fast: torch.Tensor, worst_keys: torch.Tensor, margin: torch.Tensor, k: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The pairs (query, passage of this block) that may belong to the k best, sorted by query.

    The exact k-th best score is at least that of the worst key kept so far, and at least the k-th fast score of this
    block less the margin; a passage with that score has a fast score at most one margin lower.
    """
    import torch

    lowest = torch.finfo(torch.float32).min
    peaks = fast.view(len(fast), -1, _GROUP).amax(dim=2)
    kept = tensor_scores(worst_keys).to(torch.float64) - margin
    threshold = torch.where(worst_keys == NO_KEY, torch.full_like(kept, -torch.inf), kept)
    # Where passages are still missing, the k-th best peak of this block bounds its k-th best score from below.
    source = peaks if peaks.shape[1] >= k else fast
    if source.shape[1] >= k and bool((worst_keys == NO_KEY).any()):
        best = source.topk(k, dim=1, sorted=False).values.amin(dim=1)
        threshold = torch.maximum(threshold, best.to(torch.float64) - 2 * margin)
    lower = threshold.clamp(min=lowest).to(torch.float32)[:, None]
    rows, groups = (peaks >= lower).nonzero(as_tuple=True)
    members = fast.view(-1, _GROUP).index_select(0, rows * peaks.shape[1] + groups)
    found, places = (members >= lower[rows]).nonzero(as_tuple=True)
    return rows[found], groups[found] * _GROUP + places


def _exact_scores(
    queries: torch.Tensor, passages: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor
) -> torch.Tensor:
    """Exact scores float32[P] of the pairs (rows[i], columns[i]), in blocks of bounded memory."""
    import torch

    size = max(_PAIR_ELEMENTS // max(queries.shape[1], 1), 1)
    return torch.cat(
        [
            dot_products(queries.index_select(0, rows[i : i + size]), passages.index_select(0, columns[i : i + size]))
            for i in range(0, len(rows), size)
        ]
    )


def _pad_rows(values: torch.Tensor, rows: torch.Tensor, num_rows: int) -> torch.Tensor:
    """``values`` (int64[P], sorted by ``rows``) as a matrix [num_rows, longest row], filled up with NO_KEY."""
    import torch

    counts = torch.bincount(rows, minlength=num_rows)
    starts = counts.cumsum(0) - counts
    padded = torch.full((num_rows, int(counts.max())), NO_KEY, dtype=torch.int64, device=values.device)
    padded[rows, torch.arange(len(rows), device=values.device) - starts[rows]] = values
    return padded
