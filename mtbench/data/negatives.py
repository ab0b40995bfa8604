"""Mined hard negatives as training sees them, and the draws for one batch.

Sampling for a step is a pure function of (seed, episode, epoch, query), so that every optimizer sees the same
negatives and a resumed run the same ones again. ``mtbench.retrieval.negatives`` finds them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from mtbench.data.copies import Copies
from mtbench.errors import ConfigError, DataError

Mode = Literal["top", "random"]
_STREAM = 0x6E656741  # sets these draws apart from other users of the same seed


class _Queries(Protocol):
    def positives(self, i: int) -> tuple[np.ndarray, np.ndarray]: ...


class _Corpus(Protocol):
    @property
    def copies(self) -> Copies | None: ...


@dataclass(slots=True)
class Negatives:
    """The mined negatives of Q training queries over a corpus of ``num_passages``.

    ``indices`` int32[Q, n]: rows, best first, -1 where there are fewer. ``stats``: plain numbers (see ``mine``).
    ``forbidden_rows[forbidden_starts[i] : forbidden_starts[i + 1]]`` are the rows that may not be drawn for query i
    when its negatives do not suffice (empty for queries whose n negatives are all there).
    """

    indices: np.ndarray
    stats: dict[str, float]
    num_passages: int
    forbidden_starts: np.ndarray
    forbidden_rows: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)

    def save(self, folder: Path) -> None:
        """Writes three .npy files and ``negatives.json`` into ``folder``, which is made if needed."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("indices", "forbidden_starts", "forbidden_rows"):
            np.save(folder / f"{name}.npy", getattr(self, name))
        facts = {"num_passages": self.num_passages, "stats": self.stats}
        (folder / "negatives.json").write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Negatives:
        """Reads what :meth:`save` wrote; the arrays are memory-mapped."""
        facts: dict[str, Any] = json.loads((folder / "negatives.json").read_text())
        arrays = {
            name: np.load(folder / f"{name}.npy", mmap_mode="r")
            for name in ("indices", "forbidden_starts", "forbidden_rows")
        }
        return cls(stats=facts["stats"], num_passages=facts["num_passages"], **arrays)


class NoNegativeError(DataError):
    """Every passage is relevant to a query, or ruled out for it otherwise. ``query``: its row."""

    def __init__(self, query: int, passages: int) -> None:
        self.query, self.passages = query, passages
        super().__init__(f"training query {query} has no possible negative among {passages} passages")


class NotNegative:
    """Rows that are no negative of a query: its relevant passages, their copies, and the query's own passage."""

    def __init__(self, queries: _Queries, corpus: _Corpus, own: np.ndarray | None = None) -> None:
        self._queries, self._corpus, self._own = queries, corpus, own

    def __call__(self, i: int) -> np.ndarray:
        """Rows of query i, the relevant ones first."""
        parts = [np.asarray(self._queries.positives(i)[0])]
        if self._corpus.copies is not None:
            parts.append(self._corpus.copies.of(parts[0]))
        if self._own is not None and self._own[i] >= 0:
            parts.append(self._own[i : i + 1])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


def own_rows(ids: Sequence[str], index_of: Callable[[str], int]) -> np.ndarray:
    """The row of the passage that has each query's id, int32[Q], -1 where there is none."""
    return np.fromiter((index_of(name) for name in ids), np.int32, len(ids))


def sample_negatives(
    negatives: Negatives,
    query_rows: np.ndarray,
    n: int,
    *,
    mode: Mode = "top",
    seed: int = 0,
    episode: int = 0,
    epoch: int = 0,
) -> tuple[np.ndarray, int]:
    """n negatives for every query of a batch, int32[B, n], and how many of them had to be drawn from the corpus.

    ``mode="top"`` takes the first n, ``"random"`` n of the mined ones without replacement. Where fewer than n were
    mined, the rest is drawn uniformly from the passages that are allowed for the query (again, if even these are
    fewer). A pure function of its arguments: row i depends on (seed, episode, epoch, query_rows[i]) alone.

    Raises ConfigError if n is more than were mined per query, NoNegativeError if a query has no possible negative.
    """
    if not 1 <= n <= negatives.indices.shape[1]:
        raise ConfigError(
            f"train.hard_negatives is {n}; it must be from 1 to negatives.per_query ({negatives.indices.shape[1]})"
        )
    if mode not in ("top", "random"):
        raise ConfigError(f"negatives.sampling is {mode!r}; choose top or random")
    rows = np.empty((len(query_rows), n), dtype=np.int32)
    drawn = 0
    for place, query in enumerate(np.asarray(query_rows).tolist()):
        mined = negatives.indices[query]
        mined = mined[mined >= 0]
        if mode == "top" and len(mined) >= n:
            rows[place] = mined[:n]
            continue
        random = _generator(seed, episode, epoch, query)
        if len(mined) > n:
            mined = random.choice(mined, n, replace=False)
        if len(mined) < n:
            drawn += n - len(mined)
            mined = np.concatenate([mined, _draw(negatives, query, mined, n - len(mined), random)])
        rows[place] = mined[:n]
    return rows, drawn


def _generator(seed: int, episode: int, epoch: int, query: int) -> np.random.Generator:
    """A counter-based generator whose whole state is (seed, episode, epoch, query)."""
    key = np.array([seed, (_STREAM << 32) | episode], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, epoch, query]))


def _draw(negatives: Negatives, query: int, taken: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """``count`` different passages, uniformly from those that are neither forbidden for the query nor taken."""
    forbidden = negatives.forbidden_rows[slice(*negatives.forbidden_starts[query : query + 2])]
    avoided = np.unique(np.concatenate([forbidden, taken]))
    total = negatives.num_passages
    if total > 4 * (len(avoided) + count):
        found: list[int] = []
        blocked = set(avoided.tolist())
        while len(found) < count:  # at least 3 of 4 draws succeed
            row = int(random.integers(total))
            if row not in blocked:
                blocked.add(row)
                found.append(row)
        return np.array(found, dtype=np.int32)
    allowed = np.setdiff1d(np.arange(total), avoided)
    if len(allowed) >= count:
        return random.choice(allowed, count, replace=False).astype(np.int32)
    every = np.concatenate([allowed, taken])
    if len(every) == 0:
        raise NoNegativeError(query, total)
    repeated = random.choice(every, count - len(allowed))
    return np.concatenate([random.permutation(allowed), repeated]).astype(np.int32)
