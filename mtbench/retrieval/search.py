"""Nearest passages by dot product, by the exact search or by an index of FAISS."""

from __future__ import annotations

from typing import Literal

import numpy as np

from mtbench.errors import ConfigError
from mtbench.retrieval.exact_search import search_exact
from mtbench.retrieval.faiss_search import search_faiss
from mtbench.retrieval.ranking import Ranking
from mtbench.retrieval.vectors import Vectors

BACKENDS = ("exact", "flat", "ivf", "hnsw")
Backend = Literal["exact", "flat", "ivf", "hnsw"]


def search(
    queries: np.ndarray,
    corpus: Vectors,
    k: int,
    *,
    query_groups: np.ndarray | None = None,
    backend: Backend = "exact",
    device: str = "cpu",
) -> Ranking:
    """The k best passages by dot product for every query, as a :class:`Ranking` of shape (Q, k).

    ``queries`` float32[Q, d]. With ``query_groups`` (int32[Q], for a corpus that has groups) a query sees only the
    passages of its own group. ``backend``: ``exact`` (torch) or FAISS ``flat`` (equal results), ``ivf``, ``hnsw``
    (approximate). ``device`` is torch's name, ``cpu`` or ``cuda``.

    Raises RunError if a vector is not finite or a score would overflow, ConfigError for an unknown backend.
    """
    if backend == "exact":
        return search_exact(queries, corpus, k, query_groups=query_groups, device=device)
    if backend not in BACKENDS:
        raise ConfigError(f"search.backend is {backend!r}; choose {', '.join(BACKENDS)}")
    return search_faiss(queries, corpus, k, backend, query_groups=query_groups, device=device)
