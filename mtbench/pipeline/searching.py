"""Nearest passages of the queries of all tasks, in one pass over each corpus's vectors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from mtbench.data.prepared import PreparedCorpus, PreparedQueries, PreparedSuite, PreparedTask
from mtbench.pipeline.context import Context
from mtbench.pipeline.plan import Stage
from mtbench.retrieval.encode import Encoder, open_shards
from mtbench.retrieval.ranking import Ranking
from mtbench.retrieval.search import search
from mtbench.retrieval.vectors import Vectors
from mtbench.training.ranks import Ranks

Part = tuple[str, str, PreparedQueries, np.ndarray]
"""Task, corpus, queries, rows of the queries."""


def search_parts(context: Context, encode: Stage, parts: list[Part], depth: int) -> list[Ranking]:
    """A ranking for each part, in order; parts over one corpus are searched together."""
    prepare = encode.inputs["prepare"]
    suite = context.prepared(prepare)
    model = context.model(encode.inputs.get("model"), prepare)
    encoder = Encoder(
        model, context.padding(prepare), context.config.search.encode_tokens, encode.inputs.get("model") is not None
    )
    places = {name: k for k, name in enumerate(suite.tasks)}
    found: dict[int, Ranking] = {}
    for corpus_name in dict.fromkeys(part[1] for part in parts):
        mine = [i for i, part in enumerate(parts) if part[1] == corpus_name]
        vectors = [_vectors(context.ranks, encoder, parts[i], places[parts[i][0]]) for i in mine]
        corpus = suite.corpora[corpus_name]
        groups = _groups([parts[i] for i in mine]) if corpus.groups is not None else None
        unranked = [suite.tasks[parts[i][0]].unranked(parts[i][2], corpus) for i in mine]
        deeper = depth if all(rows is None for rows in unranked) else depth + 1
        shards = open_shards(context.folder(encode) / corpus_name)
        ranking = _search(context, np.concatenate(vectors), shards, deeper, corpus, groups)
        stops = np.cumsum([len(v) for v in vectors])
        for i, stop, own, rows in zip(mine, stops, vectors, unranked, strict=True):
            part = ranking[slice(stop - len(own), stop)]
            found[i] = part.top(depth) if rows is None else part.without(rows[parts[i][3]])
    return [found[i] for i in range(len(parts))]


def _vectors(ranks: Ranks, encoder: Encoder, part: Part, task: int) -> np.ndarray:
    """The vectors of a part's queries, of which each rank encodes its share of the batches."""
    vectors = encoder.vectors(part[2], part[3], "query", task, share=(ranks.rank, ranks.size))
    return _sum_bits(ranks, vectors)


def _search(
    context: Context,
    queries: np.ndarray,
    shards: list[np.ndarray],
    depth: int,
    corpus: PreparedCorpus,
    groups: np.ndarray | None,
) -> Ranking:
    """The ranking of all queries. Each rank searches for its share of them; an approximate index, which is dear to
    build and dear to hold, rank 0 alone builds."""
    ranks, backend = context.ranks, context.config.search.backend
    share = ranks.share(len(queries))
    if backend in ("ivf", "hnsw"):
        share = slice(0, 0 if ranks.rank else len(queries))
    whole = Ranking(np.zeros((len(queries), depth), np.int32), np.zeros((len(queries), depth), np.float32))

    def own_share() -> None:
        if share.stop == share.start:
            return
        found = search(
            queries[share],
            Vectors(shards, corpus.id_rank, None if groups is None else corpus.groups),
            depth,
            query_groups=None if groups is None else groups[share],
            backend=backend,
            device=device_name(context.device),
        )
        whole.indices[share], whole.scores[share] = found.indices, found.scores

    if backend in ("ivf", "hnsw"):
        ranks.led(own_share)
    else:
        own_share()
    return Ranking(_sum_bits(ranks, whole.indices), _sum_bits(ranks, whole.scores))


def device_name(device: torch.device) -> str:
    """With the number of this process's GPU: each rank has its own, which FAISS does not know."""
    return f"{device.type}:{torch.cuda.current_device()}" if device.type == "cuda" else device.type


def _sum_bits(ranks: Ranks, numbers: np.ndarray) -> np.ndarray:
    """The rows that each rank has filled in, together on all ranks; 32-bit numbers, 0 where another rank's are.

    Added as integers: a sum of floats would lose the sign of -0.
    """
    if ranks.size == 1:
        return numbers
    ranks.all_reduce(torch.from_numpy(numbers.view(np.int32)))
    return numbers


def _groups(parts: list[Part]) -> np.ndarray | None:
    if any(queries.groups is None for _, _, queries, _ in parts):
        return None
    return np.concatenate([np.asarray(queries.groups)[rows] for _, _, queries, rows in parts])


def split_parts(
    suite: PreparedSuite, queries: Callable[[PreparedTask], PreparedQueries], corpus: Callable[[PreparedTask], str]
) -> list[Part]:
    """One part per task with all queries of a split."""
    return [(n, corpus(t), queries(t), np.arange(len(queries(t)))) for n, t in suite.tasks.items()]
