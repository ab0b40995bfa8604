"""KILT's downstream figures of files: its own tests' figures to the last digit, and files worked by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mtbench.errors import DataError
from mtbench.evaluation.downstream_scores import score_answers

OFFICIAL = {
    # what KILT's tests/test_eval_downstream.py asserts
    ("gold1", "guess1_1"): {
        "KILT-em": 1 / 3,
        "KILT-f1": 1 / 3,
        "KILT-rougel": 0.3333333316666667,
        "em": 2 / 3,
        "f1": 0.8333333333333334,
        "rougel": 0.7222222178240741,
        "Rprec": 1 / 3,
        "recall@5": 1 / 3,
    },
    ("gold1", "gold1"): {
        "KILT-em": 1,
        "KILT-f1": 1,
        "KILT-rougel": 0.999999995,
        "em": 1,
        "f1": 1,
        "rougel": 0.999999995,
        "Rprec": 1,
        "recall@5": 1,
    },
    ("gold3", "guess3_1"): {
        "KILT-em": 0,
        "KILT-f1": 0.25510204081632654,
        "KILT-rougel": 0.22352940932318338,
        "em": 0,
        "f1": 0.5102040816326531,
        "rougel": 0.44705881864636676,
    },
}


@pytest.mark.parametrize(("gold", "guess"), OFFICIAL)
def test_kilts_own_evaluator_tests(shared_data: Path, gold: str, guess: str) -> None:
    folder = shared_data / "formats" / "kilt_eval_tests"
    found = score_answers(folder / f"{gold}.jsonl", folder / f"{guess}.jsonl").metrics
    for name, expected in OFFICIAL[gold, guess].items():
        assert found[name] == expected, name


def lines(path: Path, *records: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    return path


def pages(*ids: int) -> list[dict[str, int]]:
    return [{"wikipedia_id": i} for i in ids]


@pytest.fixture
def gold(tmp_path: Path) -> Path:
    first = [{"answer": "the Red dog", "provenance": pages(1)}, {"answer": "Rex"}, {"answer": " "}]
    second = [{"answer": "REFUTES", "provenance": pages(2, 3)}, {"provenance": pages(4)}]
    return lines(tmp_path / "gold.jsonl", {"id": 1, "output": first}, {"id": "b", "output": second})


def test_worked_by_hand(gold: Path, tmp_path: Path) -> None:
    guess = lines(
        tmp_path / "guess.jsonl",
        {"id": "b", "output": [{"answer": "REFUTES", "provenance": pages(3, 9)}]},
        {"id": "x", "output": [{"answer": "unused"}]},
        {"id": "1", "output": [{"answer": " big red dog", "provenance": pages(1)}]},
    )
    scores = score_answers(gold, guess)
    assert (scores.ids, scores.unused) == (["1", "b"], 1)
    # 1: two of three words, the page found. b: the very answer, one of two pages found.
    assert scores.per_query["accuracy"] == [0, 1]
    assert scores.per_query["em"] == [0, 1]
    assert scores.per_query["f1"] == [0.8, 1]
    # as it is, "red dog" shares "dog" with "the Red dog": 1 of 3 and 1 of 3
    assert scores.per_query["rougel"] == pytest.approx([1 / 3, 1], abs=1e-7)
    assert scores.per_query["Rprec"] == [1, 0.5]
    assert scores.per_query["KILT-accuracy"] == [0, 0]
    assert scores.per_query["KILT-em"] == [0, 0]
    assert scores.per_query["KILT-f1"] == [0.8, 0]
    assert scores.metrics["f1"] == (0.8 + 1) / 2


def test_an_answer_without_pages_has_no_kilt_score(gold: Path, tmp_path: Path) -> None:
    guess = lines(tmp_path / "guess.jsonl", *({"id": i, "output": [{"answer": "Rex"}]} for i in (1, "b")))
    scores = score_answers(gold, guess)
    assert scores.per_query["em"] == [1, 0]
    assert scores.per_query["KILT-em"] == [0, 0]


WRONG: dict[str, tuple[list[dict[str, Any]], str]] = {
    "no prediction": ([{"id": 1, "output": [{"answer": "x"}]}], "no prediction for 1 of 2 gold queries"),
    "two outputs": ([{"id": 1, "output": [{"answer": "x"}, {"answer": "y"}]}], "guess.jsonl:1: id 1 has 2 outputs"),
    "no answer": ([{"id": 1, "output": [{"provenance": []}]}], "1 outputs, 0 of them with an answer"),
    "an empty answer": ([{"id": 1, "output": [{"answer": "  "}]}], "0 of them with an answer"),
    "an id twice": ([{"id": 1, "output": [{"answer": "x"}]}] * 2, "guess.jsonl:2: id '1' occurs twice"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_the_official_script_refuses_is_refused_by_name(gold: Path, tmp_path: Path, case: str) -> None:
    records, message = WRONG[case]
    with pytest.raises(DataError) as caught:
        score_answers(gold, lines(tmp_path / "guess.jsonl", *records))
    assert message in str(caught.value)


def test_gold_without_answers_is_said(tmp_path: Path) -> None:
    gold = lines(tmp_path / "gold.jsonl", {"id": 1, "output": [{"provenance": pages(1)}]})
    guess = lines(tmp_path / "guess.jsonl", {"id": 1, "output": [{"answer": "x"}]})
    with pytest.raises(DataError, match="id 1 has no answer"):
        score_answers(gold, guess)
