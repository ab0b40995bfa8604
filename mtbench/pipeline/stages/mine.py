"""mine: the model's nearest passages of the training queries, judged ones removed; by choice in turn with BM25's."""

from __future__ import annotations

from pathlib import Path

from mtbench.data.negatives import Negatives
from mtbench.pipeline.context import Context
from mtbench.pipeline.plan import Stage
from mtbench.pipeline.searching import search_parts, split_parts
from mtbench.pipeline.stage_tasks import stage_tasks
from mtbench.pipeline.stages.answers import answer_filter
from mtbench.protocols.tasks import trained_tasks
from mtbench.retrieval.negatives import in_turn, mine
from mtbench.retrieval.ranking import Ranking
from mtbench.storage.manifest import Results


def compute(context: Context, stage: Stage, work: Path) -> Results | None:
    """Writes ``negatives/TASK/``."""
    suite, settings = context.prepared(stage.inputs["prepare"]), context.config.negatives
    mined = set(trained_tasks(settings.tasks, context.run.suite, "negatives.tasks"))
    tasks = [name for name in stage_tasks(stage, suite) if name in mined]
    parts = [p for p in split_parts(suite, lambda task: task.train, lambda task: task.corpus) if p[0] in tasks]
    statistics = {}
    # ten more than asked for, because judged passages are taken out
    depth = settings.depth[1] + 10
    rankings = search_parts(context, stage.inputs["source"], parts, depth)
    if context.ranks.rank:
        return None
    bm25 = context.folder(stage.inputs["bm25"]) if "bm25" in stage.inputs else None
    for (name, corpus, queries, _), ranking in zip(parts, rankings, strict=True):
        if bm25 is not None and settings.sources == "bm25+model":
            ranking = in_turn(Ranking.load(bm25 / "train_rankings" / name).top(depth), ranking)
        negatives = mine(
            ranking,
            queries,
            suite.corpora[corpus],
            depth=settings.depth,
            per_query=settings.per_query,
            exclude=settings.exclude,
            not_negative=suite.tasks[name].not_negative(suite.corpora[corpus]),
            holds_answer=answer_filter(context, stage, name, suite.corpora[corpus]),
        )
        negatives.save(work / "negatives" / name)
        statistics[name] = negatives.stats
    for name in stage_tasks(stage, suite):
        if name not in mined:  # it keeps what the warm-up had
            assert bm25 is not None
            kept = Negatives.load(bm25 / "negatives" / name)
            kept.save(work / "negatives" / name)
            statistics[name] = kept.stats
    return {"negatives": statistics}
