"""A corpus and queries as the search sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mtbench.errors import ConfigError


@dataclass(frozen=True, eq=False)
class Vectors:
    """The vectors of N passages.

    ``shards`` float16[N_s, d] (memory-mapped or not), together the corpus in the order of its rows; ``id_rank``
    int32[N] breaks ties; ``groups`` int32[N], the part that each passage belongs to, None where there are no parts.
    ValueError if the numbers of passages differ.
    """

    shards: Sequence[np.ndarray]
    id_rank: np.ndarray
    groups: np.ndarray | None = None

    def __post_init__(self) -> None:
        if len(self.id_rank) != len(self):
            raise ValueError(f"id_rank has {len(self.id_rank)} entries, the shards {len(self)} passages")
        if self.groups is not None and len(self.groups) != len(self):
            raise ValueError(f"groups has {len(self.groups)} entries, the shards {len(self)} passages")

    def __len__(self) -> int:
        return sum(len(shard) for shard in self.shards)


SAMPLE = 1000
"""Vectors whose directions are compared."""


def mean_angle(shards: Sequence[np.ndarray]) -> float:
    """The angle in degrees whose cosine is the mean over all pairs of the first shard's first vectors.

    0 where all point the same way, about 90 where they point anywhere, 90 for fewer than two.
    """
    rows = np.asarray(shards[0][:SAMPLE], np.float64)
    count = len(rows)
    if count < 2:
        return 90.0
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    units = np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)
    # from squared distances: 1 - cosine of nearly equal vectors would lose its digits in the subtraction
    squared = 2 * count / (count - 1) * np.square(units - units.mean(axis=0)).sum(axis=1).mean()
    return float(np.degrees(2 * np.arcsin(np.sqrt(np.clip(squared / 4, 0, 1)))))


def check_queries(queries: np.ndarray, corpus: Vectors, k: int, query_groups: np.ndarray | None) -> None:
    """ConfigError for a k below 1, ValueError for queries that do not fit the corpus."""
    if k < 1:
        raise ConfigError(f"the number of results k is {k}; it must be 1 or more")
    if any(shard.shape[1] != queries.shape[1] for shard in corpus.shards):
        dimensions = [shard.shape[1] for shard in corpus.shards]
        raise ValueError(f"queries have {queries.shape[1]} dimensions, the shards {dimensions}")
    if (corpus.groups is None) != (query_groups is None):
        raise ValueError("groups of the passages and query_groups belong together")
    if query_groups is not None and len(query_groups) != len(queries):
        raise ValueError(f"query_groups has {len(query_groups)} entries, there are {len(queries)} queries")
