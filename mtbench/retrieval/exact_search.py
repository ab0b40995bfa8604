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
from typing import TYPE_CHECKING

import numpy as np

from mtbench.retrieval.nominees import GROUP, Nominees, exact_scores, pad_rows
from mtbench.retrieval.products import (
    TINY,
    check_range,
    checked_norms,
    error_bound,
    tensor_keys,
)
from mtbench.retrieval.ranking import NO_KEY, Ranking, ranking_from_keys, rows_by_rank
from mtbench.retrieval.vectors import Vectors, check_queries

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class BlockSizes:
    """What is multiplied and held at once; None: what suits the device. They change speed and memory, no result."""

    chunk_rows: int | None = None
    """Passages in one product."""
    query_rows: int | None = None
    """Queries in one product."""
    window_rows: int | None = None
    """Passages in memory."""


def search_exact(
    queries: np.ndarray,
    corpus: Vectors,
    k: int,
    *,
    query_groups: np.ndarray | None = None,
    device: str = "cpu",
    sizes: BlockSizes | None = None,
) -> Ranking:
    """As :func:`mtbench.retrieval.search.search`, by this module's way."""
    check_queries(queries, corpus, k, query_groups)
    sizes = sizes or BlockSizes()
    state = _State(queries, corpus, k, device, query_groups, sizes)
    with _full_precision():
        for start, window in _windows(corpus.shards, sizes.window_rows or state.window_rows):
            state.add(start, window)
    return state.ranking()


def _windows(shards: Sequence[np.ndarray], rows: int) -> Iterator[tuple[int, np.ndarray]]:
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
class _Window:
    """Passages in memory: float32, filled up with zeros to a multiple of ``GROUP`` rows; ``count`` are real."""

    vectors: torch.Tensor
    count: int
    ranks: torch.Tensor
    groups: torch.Tensor | None
    largest_norm: float


@dataclass
class _Block:
    """Some queries (grouped together), their running best keys and the place they came from."""

    queries: torch.Tensor
    norms: torch.Tensor
    groups: torch.Tensor | None
    keys: torch.Tensor
    rows: np.ndarray


class _State:
    """The running k best of all queries while the corpus goes by."""

    def __init__(
        self,
        queries: np.ndarray,
        corpus: Vectors,
        k: int,
        device: str,
        query_groups: np.ndarray | None,
        sizes: BlockSizes,
    ) -> None:
        import torch

        self.device = torch.device(device)
        on_gpu = self.device.type == "cuda"
        chunk_rows = sizes.chunk_rows or (65536 if on_gpu else 8192)
        self.chunk_rows = -(-chunk_rows // GROUP) * GROUP
        self.window_rows = (2**30 if on_gpu else 2**26) // max(queries.shape[1], 1) + 1
        self.k, self.dimension, self.num_queries = int(k), queries.shape[1], len(queries)
        self.id_rank, self.groups = corpus.id_rank, corpus.groups
        norms = checked_norms(np.asarray(queries, dtype=np.float32), "query")
        self.largest_query = float(norms.max(initial=0.0))
        order = np.arange(len(queries)) if query_groups is None else np.argsort(query_groups, kind="stable")
        size = sizes.query_rows or (4096 if on_gpu else 256)
        # One buffer for all products: fresh memory of this size costs as much as the product itself.
        self.scratch = torch.empty(min(size, len(queries)) * self.chunk_rows, device=self.device)
        self.blocks = []
        for first in range(0, len(queries), size):
            rows = order[first : first + size]
            vectors = torch.from_numpy(np.array(queries[rows], dtype=np.float32))
            self.blocks.append(
                _Block(
                    queries=vectors.to(self.device),
                    norms=torch.from_numpy(norms[rows]).to(self.device),
                    groups=None
                    if query_groups is None
                    else torch.from_numpy(np.array(query_groups[rows])).to(self.device),
                    keys=torch.full((len(rows), k), NO_KEY, dtype=torch.int64, device=self.device),
                    rows=rows,
                )
            )

    def add(self, start: int, vectors: np.ndarray) -> None:
        """Takes in the passages ``start``, ``start + 1``, ... whose embeddings are ``vectors``."""
        import torch

        largest = float(checked_norms(vectors, "passage", start).max(initial=0.0))
        check_range(self.largest_query, largest)
        padded = np.zeros((-(-len(vectors) // GROUP) * GROUP, self.dimension), dtype=vectors.dtype)
        padded[: len(vectors)] = vectors
        rows = slice(start, start + len(vectors))
        window = _Window(
            vectors=torch.from_numpy(padded).to(self.device).to(torch.float32),
            count=len(vectors),
            ranks=torch.from_numpy(np.array(self.id_rank[rows], dtype=np.int64)).to(self.device),
            groups=None if self.groups is None else torch.from_numpy(np.array(self.groups[rows])).to(self.device),
            largest_norm=largest,
        )
        for block in self.blocks:
            self._search(block, window)

    def _search(self, block: _Block, window: _Window) -> None:
        """Merges the best passages of a window into the block's keys."""
        margin = block.norms * error_bound(window.largest_norm, self.dimension) + TINY
        nominees = Nominees(len(block.keys), self.k, margin)
        for first in range(0, window.count, self.chunk_rows):
            fast = self._fast_scores(block, window, first)
            if fast is None:
                continue
            threshold = nominees.threshold(block.keys[:, -1])
            nominees.take(fast, threshold, first)
            if nominees.scores.shape[1] > 4 * self.k + 1024:  # ties: only exact scores and ids can tell
                self._settle(block, window, nominees)
                nominees = Nominees(len(block.keys), self.k, margin)
        self._settle(block, window, nominees)

    def _fast_scores(self, block: _Block, window: _Window, first: int) -> torch.Tensor | None:
        """float32[Q, C] of one chunk, -inf for what a query does not see; None if no query sees anything."""
        import torch

        last = min(first + self.chunk_rows, len(window.vectors))
        real = min(last, window.count)
        seen = None
        if block.groups is not None and window.groups is not None:
            seen = block.groups[:, None] == window.groups[None, first:real]
            if not bool(seen.any()):
                return None
        columns = last - first
        fast = self.scratch[: len(block.queries) * columns].view(len(block.queries), columns)
        torch.mm(block.queries, window.vectors[first:last].T, out=fast)
        fast[:, real - first :] = -torch.inf
        if seen is not None:
            fast[:, : real - first].masked_fill_(~seen, -torch.inf)
        return fast

    def _settle(self, block: _Block, window: _Window, nominees: Nominees) -> None:
        """Scores the nominees exactly and keeps the k best keys."""
        import torch

        rows, columns = nominees.pairs(nominees.threshold(block.keys[:, -1]))
        if len(rows):
            scores = exact_scores(block.queries, window.vectors, rows, columns)
            new = pad_rows(tensor_keys(scores, window.ranks[columns]), rows, len(block.keys), NO_KEY)
            block.keys = torch.cat([block.keys, new], dim=1).topk(self.k, dim=1).values

    def ranking(self) -> Ranking:
        """What has been found so far."""
        keys = np.full((self.num_queries, self.k), NO_KEY, dtype=np.int64)
        for block in self.blocks:
            keys[block.rows] = block.keys.cpu().numpy()
        return ranking_from_keys(keys, rows_by_rank(self.id_rank))
