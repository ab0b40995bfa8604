"""read: a reader fine-tuned on the passages of the model under test, and its scored answers to the dev queries."""

from __future__ import annotations

import shutil
import time
from functools import partial
from pathlib import Path

import numpy as np

from mtbench.evaluation.answers import ANSWER_METRICS, KILT_PREFIX, answer_scores, distinct_answers, kilt_scores
from mtbench.evaluation.metrics import evaluate_task, page_rprecision, summarise
from mtbench.evaluation.runfiles import write_kilt_predictions
from mtbench.evaluation.scores import SCORES_FILE, TaskScores, read_scores, task_result, write_scores
from mtbench.pipeline.context import Context
from mtbench.pipeline.plan import Stage
from mtbench.pipeline.reader_training import remove_notes, train_reader
from mtbench.pipeline.reading import ReadTask, groups_of, model_folder, read_tasks
from mtbench.reader.answering import ReaderAnswers, answer_pieces, in_turn, read_pieces
from mtbench.reader.model import load_reader, load_reader_tokenizer
from mtbench.reader.texts import ReaderTexts
from mtbench.reader.training import steps_of
from mtbench.retrieval.ranking import Ranking
from mtbench.storage.manifest import Results

PAGES = "rprecision_page"


def compute(context: Context, stage: Stage, work: Path) -> Results | None:
    """Writes ``readers/NAME/`` (folders that transformers loads), ``guess/TASK.jsonl`` (KILT's prediction files) and
    ``scores.parquet``; means and figures of training stand in the manifest."""
    tasks, settings = read_tasks(context, stage), context.config.reader
    turn, told = in_turn(context.ranks), {}
    for name, own in groups_of(tasks, settings.sharing).items():
        folder = model_folder(work, name)
        told[name] = train_reader(context, stage, folder, own, settings, partial(steps_of, settings))
        began = time.monotonic()
        texts = ReaderTexts(load_reader_tokenizer(folder), settings)
        answers = ReaderAnswers(load_reader(folder), texts, settings, context.device)
        for task in own:
            answer_pieces(len(task.dev.queries), task.dev.asked, answers, work / "pieces" / task.name, turn)
        told[name]["answering_seconds"] = round(time.monotonic() - began, 1)
    context.ranks.barrier()
    if context.ranks.rank:
        return None
    scores, retrieval = {}, {}
    for name, task in tasks.items():
        answers_found = read_pieces(work / "pieces" / name)
        ranking, pages = _ranked(context, stage, task)
        (work / "guess").mkdir(exist_ok=True)
        write_kilt_predictions(
            work / "guess" / f"{name}.jsonl", ranking, task.dev.queries, task.dev.corpus, answers_found
        )
        scores[name] = _scores(task, answers_found, pages)
        if "passages_of" in stage.settings:
            given = evaluate_task(ranking, task.dev.queries, task.dev.corpus)
            retrieval[name] = task_result(TaskScores(task.dev.queries.ids, given))
    write_scores(work / SCORES_FILE, scores)
    remove_notes(work)
    shutil.rmtree(work / "pieces", ignore_errors=True)
    found = {name: summarise(own.per_query) for name, own in scores.items()}
    return {"downstream": found, "readers": told, "tasks": retrieval, "selection": {}}


def _ranked(context: Context, stage: Stage, task: ReadTask) -> tuple[Ranking, np.ndarray]:
    """The dev ranking whose pages go with the answers, and page R-precision of each query (NaN without gold pages)."""
    if "ranked" not in stage.inputs:
        given = task.dev.ranking
        return given, page_rprecision(given.indices, task.dev.queries, task.dev.corpus.pages)
    folder = context.folder(stage.inputs["ranked"])
    known = read_scores(folder / SCORES_FILE)[task.name].per_query
    pages = known.get(PAGES, np.full(len(task.dev.queries), np.nan))
    return Ranking.load(folder / "rankings" / task.name), pages


def _scores(task: ReadTask, answers: list[str], pages: np.ndarray) -> TaskScores:
    """KILT's downstream figures of each dev query; NaN where it has no answer to compare with."""
    names = [*ANSWER_METRICS, *(f"{KILT_PREFIX}{name}" for name in ANSWER_METRICS)]
    columns = {name: np.full(len(answers), np.nan) for name in names}
    for row, (answer, found) in enumerate(zip(answers, pages, strict=True)):
        alternatives = distinct_answers(task.dev.alternatives[row])
        if not alternatives:
            continue
        scores = answer_scores(answer, alternatives)
        if not np.isnan(found):
            scores |= kilt_scores(scores, float(found))
        for name, value in scores.items():
            columns[name][row] = value
    kept = {name: values for name, values in columns.items() if not np.isnan(values).all()}
    return TaskScores(task.dev.queries.ids, kept)
