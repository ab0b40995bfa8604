"""KILT's downstream figures of a prediction file, equal to its official script (``kilt/eval_downstream.py``).

The script returns em, f1 and rougel; accuracy, KILT's figure for fact checking, entity linking and slot filling, is
the strict match that it computes beside these.
"""

from __future__ import annotations

from os import PathLike
from typing import Any

from mtbench.errors import DataError
from mtbench.evaluation.answers import ANSWER_METRICS, KILT_PREFIX, answer_scores, distinct_answers, kilt_scores
from mtbench.evaluation.kilt_scores import KiltScores, Record, matched_records, query_metrics

METRICS = (*ANSWER_METRICS, *(f"{KILT_PREFIX}{name}" for name in ANSWER_METRICS), "Rprec", "recall@5")


def score_answers(gold: str | PathLike[str], guess: str | PathLike[str]) -> KiltScores:
    """Score the answers of a KILT prediction file, and with them whether their pages were found.

    Raises :class:`DataError` (file and line) for what the official script refuses: a gold query without prediction or
    without answers, a repeated id, a prediction that has not exactly one output with an answer in it.
    """
    references, predictions, unused = matched_records(gold, guess, _check_gold, _check_guess)
    scores = [_query(predictions[key], record) for key, record in references.items()]
    per_query = {name: [one[name] for one in scores] for name in METRICS}
    return KiltScores({name: _mean(values) for name, values in per_query.items()}, list(references), per_query, unused)


def gold_answers(record: Record) -> list[str]:
    """The alternatives of a gold record, of all its outputs."""
    return distinct_answers([output["answer"] for output in record["output"] if output.get("answer")])


def _query(guess: Record, gold: Record) -> dict[str, float]:
    scores = answer_scores(str(guess["output"][0]["answer"]), gold_answers(gold))
    found = query_metrics(guess, gold, ks=(5,))
    return {
        **scores,
        **kilt_scores(scores, found["Rprec"]),
        "Rprec": found["Rprec"],
        "recall@5": found["recall@5"],
    }


def _mean(values: list[float]) -> float:
    """Sum in order, as the script adds: ``sum`` of newer Pythons rounds better, and differs in the last digit."""
    total = 0.0
    for value in values:
        total += value
    return total / len(values)


def _check_gold(record: Record, path: str | PathLike[str], line: int) -> Record:
    answers = [output["answer"] for output in record["output"] if output.get("answer")]
    wrong = next((a for a in answers if not isinstance(a, str)), None)
    if wrong is not None:
        raise DataError(f"id {record['id']!r}: an answer is text, not {wrong!r}", path=path, line=line)
    if not distinct_answers(answers):
        raise DataError(
            f"id {record['id']!r} has no answer to score against",
            path=path,
            line=line,
            remedy="Give the file with answers: those of KILT's test sets are not public.",
        )
    return record


def _check_guess(record: Record, path: str | PathLike[str], line: int) -> Record:
    outputs: list[dict[str, Any]] = record["output"]
    answers = [output for output in outputs if str(output.get("answer", "")).strip()]
    if len(outputs) != 1 or not answers:
        raise DataError(
            f"id {record['id']!r} has {len(outputs)} outputs, {len(answers)} of them with an answer; it must be one "
            "output with an answer",
            path=path,
            line=line,
            remedy='Put answer and pages into one output: {"answer": "...", "provenance": [...]}.',
        )
    return record
