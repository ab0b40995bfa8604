"""mine: the model's nearest passages of the training queries, judged ones removed."""

from __future__ import annotations

from pathlib import Path

from mtbench.pipeline.context import Context
from mtbench.pipeline.plan import Stage
from mtbench.pipeline.searching import search_parts, split_parts
from mtbench.pipeline.stage_tasks import stage_tasks
from mtbench.retrieval.negatives import mine
from mtbench.storage.manifest import Results


def compute(context: Context, stage: Stage, work: Path) -> Results | None:
    """Writes ``negatives/TASK/``."""
    suite, settings = context.prepared(stage.inputs["prepare"]), context.config.negatives
    tasks = stage_tasks(stage, suite)
    parts = [p for p in split_parts(suite, lambda task: task.train, lambda task: task.corpus) if p[0] in tasks]
    statistics = {}
    # ten more than asked for, because judged passages are taken out
    rankings = search_parts(context, stage.inputs["source"], parts, settings.depth[1] + 10)
    if context.ranks.rank:
        return None
    for (name, corpus, queries, _), ranking in zip(parts, rankings, strict=True):
        negatives = mine(
            ranking,
            queries,
            suite.corpora[corpus],
            depth=settings.depth,
            per_query=settings.per_query,
            exclude=settings.exclude,
            not_negative=suite.tasks[name].not_negative(suite.corpora[corpus]),
        )
        negatives.save(work / "negatives" / name)
        statistics[name] = negatives.stats
    return {"negatives": statistics}
