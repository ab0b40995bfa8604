"""bm25: an index per corpus, rankings of train and dev queries, and the first hard negatives."""

from __future__ import annotations

from pathlib import Path

from mtbench.data.prepared import PreparedCorpus, PreparedQueries, PreparedTask
from mtbench.pipeline.context import Context, searched_corpora
from mtbench.pipeline.plan import Stage
from mtbench.pipeline.stages.answers import answer_filter
from mtbench.retrieval.bm25 import Analyzer, Segmentation
from mtbench.retrieval.bm25_build import build_bm25
from mtbench.retrieval.bm25_search import search_bm25
from mtbench.retrieval.negatives import mine
from mtbench.retrieval.ranking import Ranking
from mtbench.storage.manifest import Results


def compute(context: Context, stage: Stage, work: Path) -> Results | None:
    """Writes ``index/CORPUS/``, ``rankings/TASK/``, ``selection/TASK/`` and ``negatives/TASK/``."""
    suite = context.prepared(stage.inputs["prepare"])
    config = context.config
    for name, corpus in searched_corpora(suite, list(suite.tasks)).items():
        index = work / "index" / name
        if not (index / "index.json").is_file():
            texts = (f"{corpus.title(i)} {corpus.text(i)}" for i in range(len(corpus)))
            segmentation: Segmentation = "unicode" if name in context.run.rules.get("words", ()) else "plain"
            analyzer = Analyzer(config.bm25.stemmer, segmentation=segmentation)
            build_bm25(texts, index, k1=config.bm25.k1, b=config.bm25.b, analyzer=analyzer)
    statistics = {}
    for number, (name, task) in enumerate(suite.tasks.items()):
        train_depth = max(config.negatives.depth[1] + 10, config.bm25.depth)
        dev = _search(work, suite.corpora[task.dev_corpus], task, task.dev, config.bm25.depth)
        dev.save(work / "rankings" / name)
        corpus = suite.corpora[task.corpus]
        train = _search(work, corpus, task, task.train, train_depth)
        train.top(config.bm25.depth).save(work / "train_rankings" / name)
        negatives = mine(
            train,
            task.train,
            corpus,
            depth=config.negatives.depth,
            per_query=config.negatives.per_query,
            exclude=config.negatives.exclude,
            not_negative=task.not_negative(corpus),
            holds_answer=answer_filter(context, stage, name, corpus),
        )
        negatives.save(work / "negatives" / name)
        statistics[name] = negatives.stats
        context.listener.stage_advanced(stage, number + 1, len(suite.tasks), {})
    return {"negatives": statistics}


def _search(work: Path, corpus: PreparedCorpus, task: PreparedTask, queries: PreparedQueries, depth: int) -> Ranking:
    unranked = task.unranked(queries, corpus)
    texts = [queries.text(i) for i in range(len(queries))]
    grouped = queries.groups is not None and corpus.groups is not None
    ranking = search_bm25(
        work / "index" / corpus.name,
        texts,
        depth if unranked is None else depth + 1,
        corpus.id_rank,
        groups=corpus.groups if grouped else None,
        query_groups=queries.groups if grouped else None,
    )
    return ranking if unranked is None else ranking.without(unranked)
