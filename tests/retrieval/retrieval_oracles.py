"""Plain, slow definitions of what retrieval must return, and stand-ins for prepared data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mtbench.retrieval.ranking import Ranking


def rank_by_definition(scores: np.ndarray, k: int, id_rank: np.ndarray, allowed: np.ndarray | None = None) -> Ranking:
    """Sorts all passages of every query by (score, id) descending. ``allowed`` is bool[Q, N]."""
    indices = np.full((len(scores), k), -1, dtype=np.int32)
    values = np.full((len(scores), k), -np.inf, dtype=np.float32)
    for query, row in enumerate(scores.astype(np.float32)):
        seen = range(len(row)) if allowed is None else np.flatnonzero(allowed[query]).tolist()
        best = sorted(seen, key=lambda i, row=row: (-row[i], -id_rank[i]))[:k]
        indices[query, : len(best)] = best
        values[query, : len(best)] = row[best]
    return Ranking(indices, values)


def assert_equal(result: Ranking, expected: Ranking) -> None:
    """Bit for bit."""
    np.testing.assert_array_equal(result.indices, expected.indices)
    np.testing.assert_array_equal(result.scores, expected.scores)
    assert result.indices.dtype == np.int32 and result.scores.dtype == np.float32


@dataclass
class FakeQueries:
    """Queries with positives (rows) and, if the task has them, gold page sets."""

    rows: list[list[int]]
    pages: list[list[list[int]]] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def positives(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        rows = np.array(self.rows[i], dtype=np.int32)
        return rows, np.ones_like(rows)

    def gold_pages(self, i: int) -> list[np.ndarray] | None:
        return None if self.pages is None else [np.array(s, dtype=np.int32) for s in self.pages[i]]


@dataclass
class FakeCorpus:
    """Passages by their page number; texts are distinct unless given as token lists."""

    pages: np.ndarray
    texts: Sequence[list[int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.texts = self.texts or [[i, 1] for i in range(len(self.pages))]
        self.lengths = np.array([len(t) for t in self.texts], dtype=np.int32)

    def __len__(self) -> int:
        return len(self.pages)

    def tokens(self, i: int) -> np.ndarray:
        return np.array(self.texts[i])
