"""Nearest passages of the queries of all tasks, in one pass over each corpus's vectors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mtbench.data.prepared import PreparedQueries, PreparedSuite, PreparedTask
from mtbench.pipeline.context import Context
from mtbench.pipeline.plan import Stage
from mtbench.retrieval.encode import Encoder, open_shards
from mtbench.retrieval.ranking import Ranking
from mtbench.retrieval.search import search

Part = tuple[str, str, PreparedQueries, np.ndarray]
"""Task, corpus, queries, rows of the queries."""


def search_parts(context: Context, encode: Stage, parts: list[Part], depth: int) -> list[Ranking]:
    """A ranking for each part, in order; parts over one corpus are searched together."""
    prepare = encode.inputs["prepare"]
    suite = context.prepared(prepare)
    model = context.model(encode.inputs.get("model"), prepare)
    encoder = Encoder(model, context.padding(prepare), context.config.search.encode_tokens)
    places = {name: k for k, name in enumerate(suite.tasks)}
    found: dict[int, Ranking] = {}
    for corpus_name in dict.fromkeys(part[1] for part in parts):
        mine = [i for i, part in enumerate(parts) if part[1] == corpus_name]
        vectors = [encoder.vectors(parts[i][2], parts[i][3], "query", places[parts[i][0]]) for i in mine]
        corpus = suite.corpora[corpus_name]
        groups = _groups([parts[i] for i in mine]) if corpus.groups is not None else None
        ranking = search(
            np.concatenate(vectors),
            open_shards(context.folder(encode) / corpus_name),
            depth,
            corpus.id_rank,
            backend=context.config.search.backend,
            device=context.device.type,
            groups=None if groups is None else corpus.groups,
            query_groups=groups,
        )
        stops = np.cumsum([len(v) for v in vectors])
        for i, stop, own in zip(mine, stops, vectors, strict=True):
            found[i] = ranking[slice(stop - len(own), stop)]
    return [found[i] for i in range(len(parts))]


def _groups(parts: list[Part]) -> np.ndarray | None:
    if any(queries.groups is None for _, _, queries, _ in parts):
        return None
    return np.concatenate([np.asarray(queries.groups)[rows] for _, _, queries, rows in parts])


def split_parts(
    suite: PreparedSuite, queries: Callable[[PreparedTask], PreparedQueries], corpus: Callable[[PreparedTask], str]
) -> list[Part]:
    """One part per task with all queries of a split."""
    return [(n, corpus(t), queries(t), np.arange(len(queries(t)))) for n, t in suite.tasks.items()]
