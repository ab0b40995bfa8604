"""Passages with the very same tokens under other ids: what the encoder cannot tell apart."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from mtbench.data import layout

_CHUNK = 1 << 22
"""Tokens that are hashed at once: 32 MB a temporary array."""


class _Tokens(Protocol):
    """N passages as one array of token ids (``mtbench.data.prepared.PreparedCorpus``)."""

    @property
    def token_ids(self) -> np.ndarray: ...
    @property
    def offsets(self) -> np.ndarray: ...
    @property
    def lengths(self) -> np.ndarray: ...


class Copies:
    """Groups of rows with equal tokens: ``members`` int32[M], group after group, ``starts`` int32[G + 1]."""

    def __init__(self, members: np.ndarray, starts: np.ndarray) -> None:
        self.members, self.starts = members, starts

    @classmethod
    def open(cls, folder: Path) -> Copies | None:
        """What :meth:`save` wrote into the folder of a prepared corpus; None where nothing was looked for."""
        if not layout.COPIES.exists(folder):
            return None
        return cls(layout.COPIES.map(folder), layout.COPY_STARTS.map(folder))

    def save(self, folder: Path) -> None:
        """Two columns."""
        layout.COPIES.write(folder, self.members)
        layout.COPY_STARTS.write(folder, self.starts)

    @cached_property
    def _by_row(self) -> tuple[np.ndarray, np.ndarray]:
        """All members ascending, and the group of each."""
        order = np.argsort(self.members)
        groups = np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))
        return self.members[order], groups[order]

    def of(self, rows: np.ndarray) -> np.ndarray:
        """The rows that are copies of one of ``rows`` without being among them, int32."""
        members, groups = self._by_row
        places = np.searchsorted(members, rows)
        places = places[places < len(members)]
        hit = np.isin(members[places], rows)
        found = [self.members[self.starts[g] : self.starts[g + 1]] for g in np.unique(groups[places[hit]])]
        return np.setdiff1d(np.concatenate(found), rows) if found else np.empty(0, np.int32)


def find_copies(corpus: _Tokens) -> Copies:
    """All groups of passages with equal tokens, by a 64-bit hash of each and then token by token."""
    hashes = _hashes(corpus)
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    edges = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1], [True]]))
    groups: list[np.ndarray] = []
    for first in np.flatnonzero(np.diff(edges) > 1):
        groups += _equal(corpus, order[edges[first] : edges[first + 1]])
    starts = np.concatenate([[0], np.cumsum([len(g) for g in groups], dtype=np.int64)])
    members = np.concatenate([*groups, np.empty(0, np.int64)])
    return Copies(members.astype(np.int32), starts.astype(np.int32))


def _hashes(corpus: _Tokens) -> np.ndarray:
    """uint64[N]: the sum of each token, mixed, times an odd number of its place."""
    lengths, offsets = corpus.lengths.astype(np.int64), corpus.offsets.astype(np.int64)
    longest = int(lengths.max(initial=0))
    weights = np.random.default_rng(0).integers(0, 2**63, longest, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    hashes = lengths.astype(np.uint64)
    first = 0
    while first < len(lengths):
        last = max(first + 1, int(np.searchsorted(offsets, offsets[first] + _CHUNK, side="right")) - 1)
        tokens = corpus.token_ids[offsets[first] : offsets[last]].astype(np.uint64) + np.uint64(1)
        tokens *= np.uint64(0x9E3779B97F4A7C15)
        tokens ^= tokens >> np.uint64(29)
        starts = offsets[first:last] - offsets[first]
        tokens *= weights[np.arange(len(tokens)) - np.repeat(starts, lengths[first:last])]
        sums = np.concatenate([[np.uint64(0)], np.cumsum(tokens, dtype=np.uint64)])  # wraps, as differences do
        hashes[first:last] += sums[starts + lengths[first:last]] - sums[starts]
        first = last
    return hashes


def _equal(corpus: _Tokens, rows: np.ndarray) -> list[np.ndarray]:
    """The groups of two or more rows with equal tokens among rows with equal hashes."""
    found: dict[bytes, list[int]] = {}
    for row in rows.tolist():
        tokens = corpus.token_ids[int(corpus.offsets[row]) : int(corpus.offsets[row + 1])]
        found.setdefault(tokens.tobytes(), []).append(row)
    return [np.asarray(same) for same in found.values() if len(same) > 1]
