"""What the readers hand on: passages, queries, judgements, and notes on what they met."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

Value = TypeVar("Value")


@dataclass(slots=True)
class Passage:
    """One retrieval unit. ``page`` is the page it belongs to; without one the passage is its own page."""

    id: str
    title: str
    text: str
    page: str = ""
    group: str = ""
    """Part of the corpus that a query may be confined to (ZESHEL's world); empty where there are no parts."""

    def __post_init__(self) -> None:
        if not self.page:
            self.page = self.id


@dataclass
class QuerySplit:
    """Queries of one split with their judgements; all lists have one entry per query."""

    ids: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    positives: list[dict[str, int]] = field(default_factory=list)
    """Passage id to relevance, positive values only; empty where no passage is judged."""
    gold_pages: list[list[list[str]]] | None = None
    """Evidence sets of page ids (KILT); None if the task has none. A query without any set scores 0."""
    groups: list[str] | None = None
    """Part of the corpus that each query searches; None if every query searches all of it."""
    judged: list[bool] | None = None
    """Whether each query has judgements, relevant ones or not; None: those that have a relevant passage."""

    @property
    def which_judged(self) -> list[bool]:
        """:attr:`judged`, spelled out."""
        return [bool(positives) for positives in self.positives] if self.judged is None else self.judged

    @property
    def num_zero_judged(self) -> int:
        """Queries that are judged and have no relevant passage."""
        return sum(judged and not found for judged, found in zip(self.which_judged, self.positives, strict=True))

    def __len__(self) -> int:
        return len(self.ids)

    def first(self, limit: int | None) -> QuerySplit:
        """The first ``limit`` queries (all of them for None)."""
        if limit is None or limit >= len(self):
            return self
        return self.take(range(limit))

    def take(self, rows: Sequence[int]) -> QuerySplit:
        """The queries in ``rows``, in that order."""

        def of(values: list[Value]) -> list[Value]:
            return [values[i] for i in rows]

        return QuerySplit(
            of(self.ids),
            of(self.texts),
            of(self.positives),
            None if self.gold_pages is None else of(self.gold_pages),
            None if self.groups is None else of(self.groups),
            None if self.judged is None else of(self.judged),
        )


@dataclass
class TaskData:
    """One task, read."""

    train: QuerySplit
    dev: QuerySplit


@dataclass
class Notes:
    """What a reader met that is no error but should be known, counted by kind with the first place of each."""

    counts: dict[str, int] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)

    def add(self, kind: str, place: str = "", count: int = 1) -> None:
        """Count ``count`` more cases of ``kind``; ``place`` (``file:line``) is kept for the first."""
        if count:
            self.counts[kind] = self.counts.get(kind, 0) + count
            self.places.setdefault(kind, place)

    def sentences(self) -> list[str]:
        """One line per kind: how many, what, and where the first is."""
        return [
            f"{number} {kind}" + (f" (first: {self.places[kind]})" if self.places[kind] else "")
            for kind, number in sorted(self.counts.items())
        ]
