"""encode: vectors of every corpus, in memory-mapped shards of half precision."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

from mtbench.pipeline.context import Context, searched_corpora
from mtbench.pipeline.plan import Stage
from mtbench.retrieval.encode import Encoder, encode_corpus, open_shards
from mtbench.storage.manifest import Results

SAMPLE = 1000
"""Vectors of a corpus whose spread is looked at."""


def compute(context: Context, stage: Stage, work: Path) -> Results | None:
    """Writes ``CORPUS/shard-*.npy``."""
    prepare = stage.inputs["prepare"]
    suite, search = context.prepared(prepare), context.config.search
    model = context.model(stage.inputs.get("model"), prepare)
    encoder = Encoder(model, context.padding(prepare), search.encode_tokens)
    turns, ranks = itertools.count(), context.ranks
    corpora = searched_corpora(suite, list(suite.tasks))
    for name, corpus in corpora.items():
        encode_corpus(
            encoder,
            corpus,
            work / name,
            search.shard_size,
            lambda done, total: context.listener.stage_advanced(stage, done, total, {}),
            lambda number: next(turns) % ranks.size == ranks.rank,  # in turn, over all corpora
        )
    return {"spread": {name: _spread(work / name) for name in corpora}} if ranks.rank == 0 and ranks.size == 1 else None


def _spread(folder: Path) -> float:
    """1 - the mean cosine of two vectors, over a corpus's first ones; 0 where all are alike."""
    rows = np.asarray(open_shards(folder)[0][:SAMPLE], np.float64)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    units = np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)
    count = len(units)
    if count < 2:
        return 1.0
    return float(1 - (np.square(units.sum(axis=0)).sum() - np.square(units).sum()) / (count * (count - 1)))
