"""retrieve: the best passages of train and dev queries, for the reader, by the retriever that is being measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mtbench.data.answers import has_answers
from mtbench.pipeline.context import Context
from mtbench.pipeline.plan import Stage
from mtbench.pipeline.searching import Part, search_parts
from mtbench.retrieval.ranking import Ranking
from mtbench.storage.manifest import Results


def compute(context: Context, stage: Stage, work: Path) -> Results | None:
    """Writes ``train/TASK/`` and ``dev/TASK/``."""
    suite, source, depth = context.prepared(stage.inputs["prepare"]), stage.inputs["source"], stage.settings["depth"]
    names = [task.name for task in context.run.suite.tasks if has_answers(task)]
    if source.name == "bm25":
        for name in names:
            for split, folder in (("train", "train_rankings"), ("dev", "rankings")):
                Ranking.load(context.folder(source) / folder / name).top(depth).save(work / split / name)
        return None
    tasks = [suite.tasks[name] for name in names]
    parts: list[Part] = [(t.name, t.corpus, t.train, np.arange(len(t.train))) for t in tasks]
    parts += [(t.name, t.dev_corpus, t.dev, np.arange(len(t.dev))) for t in tasks]
    rankings = search_parts(context, source, parts, depth)
    if context.ranks.rank:
        return None
    for place, ((name, *_), ranking) in enumerate(zip(parts, rankings, strict=True)):
        ranking.save(work / ("train" if place < len(tasks) else "dev") / name)
    return None
