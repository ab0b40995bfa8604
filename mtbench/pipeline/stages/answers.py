"""answers: all alternatives of the prepared queries' answers, in their order, of the tasks that have any."""

from __future__ import annotations

from pathlib import Path

from mtbench.data.answer_match import SPAN_FAMILIES, AnswerFilter
from mtbench.data.answers import has_answers, read_answers
from mtbench.data.prepared import PreparedCorpus
from mtbench.pipeline.context import Context
from mtbench.pipeline.plan import Stage
from mtbench.storage.atomic import read_json, write_json
from mtbench.storage.manifest import Results


def compute(context: Context, stage: Stage, work: Path) -> Results | None:
    """Writes ``TASK/train.json`` and ``TASK/dev.json``: a list of alternatives for each query, empty without any."""
    prepared, counts = context.prepared(stage.inputs["prepare"]), {}
    for task in context.run.suite.tasks:
        if not has_answers(task):
            continue
        found, own = read_answers(context.run.suite, task), prepared.tasks[task.name]
        (work / task.name).mkdir(exist_ok=True)
        for split, ids, answers in (("train", own.train.ids, found.train), ("dev", own.dev.ids, found.dev)):
            write_json(work / task.name / f"{split}.json", [answers.get(name, []) for name in ids])
            counts[f"{task.name} {split}"] = sum(name in answers for name in ids)
    return {"answered": counts}


def answers_of(folder: Path, task: str, split: str) -> list[list[str]]:
    """What :func:`compute` wrote of one split."""
    found: list[list[str]] = read_json(folder / task / f"{split}.json")
    return found


def answer_filter(context: Context, stage: Stage, task: str, corpus: PreparedCorpus) -> AnswerFilter | None:
    """What a stage that finds negatives leaves out by ``negatives.exclude=answer``; None where answers are no spans."""
    answers, declared = stage.inputs.get("answers"), context.run.suite.task(task)
    if answers is None or declared.family not in SPAN_FAMILIES or not has_answers(declared):
        return None
    return AnswerFilter(answers_of(context.folder(answers), task, "train"), corpus)
