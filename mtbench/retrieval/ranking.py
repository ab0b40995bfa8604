"""The result of a search: the k best passages of every query, best first.

One tie rule everywhere, trec_eval's: equal scores go by passage id, descending. It is carried by *sort keys*: the
score's bits, mapped so that integers order as the floats do, stand in the upper 32 bits of an int64 and the rank of
the passage's id in the lower 32. Keys of one query are distinct, so that "the k largest keys" has one answer, also
where equal scores straddle the cut, in any library and for any division of the corpus.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

NO_KEY = np.iinfo(np.int64).min
"""Key of an empty place: below the key of every finite score."""
_FLIP = np.int64(0x7FFFFFFF)


@dataclass(slots=True)
class Ranking:
    """The best passages of Q queries.

    ``indices`` int32[Q, k]: rows of the corpus, -1 where there are fewer than k results (always at the end).
    ``scores`` float32[Q, k]: not ascending along a row, ``-inf`` where ``indices`` is -1.
    """

    indices: np.ndarray
    scores: np.ndarray

    def __post_init__(self) -> None:
        if self.indices.ndim != 2 or self.indices.shape != self.scores.shape:
            raise ValueError(f"indices {self.indices.shape} and scores {self.scores.shape} must have one shape (Q, k)")

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def k(self) -> int:
        """Places per query."""
        return int(self.indices.shape[1])

    def __getitem__(self, queries: slice | np.ndarray) -> Ranking:
        """The rankings of some queries (a slice, row numbers or a mask), for instance those of one task."""
        return Ranking(self.indices[queries], self.scores[queries])

    def top(self, k: int) -> Ranking:
        """The first k places of every query."""
        return Ranking(self.indices[:, :k], self.scores[:, :k])

    def restrict(self, mask: np.ndarray) -> Ranking:
        """Without the results for which ``mask`` is False; the others move up, in order.

        ``mask`` is bool[N] over the rows of the corpus or bool[Q, k] over the places of this ranking.
        """
        if mask.shape == self.indices.shape and mask.ndim == 2:
            keep = mask & (self.indices >= 0)
        else:
            keep = (self.indices >= 0) & mask[np.maximum(self.indices, 0)]
        order = np.argsort(~keep, axis=1, kind="stable")
        indices = np.where(keep, self.indices, -1)
        scores = np.where(keep, self.scores, -np.inf)
        return Ranking(
            np.take_along_axis(indices, order, axis=1).astype(np.int32),
            np.take_along_axis(scores, order, axis=1).astype(np.float32),
        )

    def without(self, rows: np.ndarray) -> Ranking:
        """One place less per query, without the result in ``rows`` (int32[Q], -1 for none) or else without the last."""
        return self.restrict(self.indices != rows[:, None]).top(self.k - 1)

    def save(self, folder: Path) -> None:
        """Writes ``indices.npy`` and ``scores.npy`` into ``folder``, which is made if needed."""
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "indices.npy", np.ascontiguousarray(self.indices, dtype=np.int32))
        np.save(folder / "scores.npy", np.ascontiguousarray(self.scores, dtype=np.float32))

    @classmethod
    def load(cls, folder: Path) -> Ranking:
        """Reads what :meth:`save` wrote, memory-mapped and read-only."""
        return cls(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("indices", "scores")))


def sort_keys(scores: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """Keys int64 of finite ``scores`` and the id ranks (0 <= rank < 2**31) of their passages, any one shape.

    A larger key is a better result. -0.0 equals 0.0.
    """
    bits = (scores.astype(np.float32) + np.float32(0.0)).view(np.int32).astype(np.int64)
    bits = np.where(bits < 0, bits ^ _FLIP, bits)
    return (bits << 32) | ranks.astype(np.int64)


def key_scores(keys: np.ndarray) -> np.ndarray:
    """The float32 scores in ``keys``; -inf for ``NO_KEY``."""
    bits = keys >> 32
    scores = np.where(bits < 0, bits ^ _FLIP, bits).astype(np.int32).view(np.float32)
    return np.where(keys == NO_KEY, np.float32(-np.inf), scores)


def ranking_from_keys(keys: np.ndarray, row_of_rank: np.ndarray) -> Ranking:
    """The ranking whose sort keys are the rows of ``keys`` (int64[Q, k], in any order, ``NO_KEY`` for none)."""
    keys = np.sort(keys, axis=1)[:, ::-1]
    empty = keys == NO_KEY
    ranks = np.where(empty, 0, keys & 0xFFFFFFFF)
    indices = np.full(keys.shape, -1, dtype=np.int32)
    if len(row_of_rank):
        indices = np.where(empty, -1, row_of_rank[ranks])
    return Ranking(indices.astype(np.int32), key_scores(keys))


def rows_by_rank(id_rank: np.ndarray) -> np.ndarray:
    """The inverse of ``id_rank`` (int32[N], a permutation of 0..N-1): the row of the passage with each rank.

    Raises ValueError if it is no permutation: ties could then not be broken.
    """
    row_of_rank = np.full(len(id_rank), -1, dtype=np.int32)
    if len(id_rank) and (id_rank.min() < 0 or id_rank.max() >= len(id_rank)):
        raise ValueError(f"id_rank must be a permutation of 0..{len(id_rank) - 1}")
    row_of_rank[id_rank] = np.arange(len(id_rank), dtype=np.int32)
    if (row_of_rank < 0).any():
        raise ValueError(f"id_rank must be a permutation of 0..{len(id_rank) - 1}")
    return row_of_rank


def largest_keys(keys: np.ndarray, k: int) -> np.ndarray:
    """The k largest keys of every row of ``keys`` (int64[Q, m]), descending, padded with ``NO_KEY``: int64[Q, k]."""
    best = keys
    if keys.shape[1] > k:
        best = np.partition(keys, keys.shape[1] - k, axis=1)[:, keys.shape[1] - k :]
    # Negating NO_KEY overflows back to NO_KEY, so sort ascending and turn round instead.
    best = np.sort(best, axis=1)[:, ::-1]
    padding = np.full((len(best), max(k - best.shape[1], 0)), NO_KEY, dtype=np.int64)
    return np.concatenate([best, padding], axis=1)
