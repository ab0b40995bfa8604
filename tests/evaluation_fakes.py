"""Small stand-ins for the prepared data and rankings that the metrics read."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass
class FakeCorpus:
    """``page_of[row]`` is the page number of a row; ids and names are made up from the numbers."""

    page_of: list[int]

    def __len__(self) -> int:
        return len(self.page_of)

    @property
    def pages(self) -> np.ndarray:
        return np.array(self.page_of, dtype=np.int32)

    @property
    def page_names(self) -> list[str]:
        return [f"page{i}" for i in range(max(self.page_of) + 1)]

    def id(self, i: int) -> str:
        return f"p{i}"

    def title(self, i: int) -> str:
        return f"Title {self.page_of[i]}"


@dataclass
class FakeQueries:
    """Judgements per query as ``{row: grade}`` and gold page sets (None: the query has no KILT line)."""

    judged: list[dict[int, int]]
    sets: list[list[list[int]] | None] | None = None
    ids: list[str] = field(default_factory=list)
    irrelevant: frozenset[int] = frozenset()
    """Queries that are judged and have no relevant row."""

    def __post_init__(self) -> None:
        self.ids = self.ids or [f"q{i}" for i in range(len(self.judged))]

    def __len__(self) -> int:
        return len(self.judged)

    def text(self, i: int) -> str:
        return f"question {i}\nsecond line"

    def positives(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        rows = self.judged[i]
        return np.array(list(rows), dtype=np.int32), np.array(list(rows.values()), dtype=np.int32)

    def is_judged(self, i: int) -> bool:
        return bool(self.judged[i]) or i in self.irrelevant

    def gold_pages(self, i: int) -> list[np.ndarray] | None:
        sets = None if self.sets is None else self.sets[i]
        return None if sets is None else [np.array(pages, dtype=np.int64) for pages in sets]


@dataclass
class FakeRanking:
    """A ranking from lists of rows; shorter ones are filled with -1, scores fall by one per rank unless given."""

    rows: list[list[int]]
    depth: int
    given_scores: list[list[float]] | None = None

    @property
    def indices(self) -> np.ndarray:
        filled = np.full((len(self.rows), self.depth), -1, dtype=np.int32)
        for i, rows in enumerate(self.rows):
            filled[i, : len(rows)] = rows
        return filled

    @property
    def scores(self) -> np.ndarray:
        filled = np.full((len(self.rows), self.depth), -np.inf, dtype=np.float32)
        for i, rows in enumerate(self.rows):
            values = self.given_scores[i] if self.given_scores else [float(-j) for j in range(len(rows))]
            filled[i, : len(rows)] = values
        return filled
