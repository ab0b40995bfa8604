"""encode: vectors of every corpus, in memory-mapped shards of half precision."""

from __future__ import annotations

import itertools
from pathlib import Path

from mtbench.pipeline.context import Context, searched_corpora
from mtbench.pipeline.plan import Stage
from mtbench.retrieval.encode import Encoder, encode_corpus
from mtbench.storage.manifest import Results


def compute(context: Context, stage: Stage, work: Path) -> Results | None:
    """Writes ``CORPUS/shard-*.npy``."""
    prepare = stage.inputs["prepare"]
    suite, search = context.prepared(prepare), context.config.search
    model = context.model(stage.inputs.get("model"), prepare)
    encoder = Encoder(model, context.padding(prepare), search.encode_tokens, stage.inputs.get("model") is not None)
    turns, ranks = itertools.count(), context.ranks
    for name, corpus in searched_corpora(suite, list(suite.tasks)).items():
        encode_corpus(
            encoder,
            corpus,
            work / name,
            search.shard_size,
            lambda done, total: context.listener.stage_advanced(stage, done, total, {}),
            lambda number: next(turns) % ranks.size == ranks.rank,  # in turn, over all corpora
        )
    return None
