"""The figures of one answer, worked by hand."""

from __future__ import annotations

import pytest

from mtbench.evaluation.answers import answer_scores, distinct_answers, kilt_scores, normalise, word_f1


def test_words_are_compared_without_case_punctuation_and_articles() -> None:
    assert normalise("  The Sign, of-a  Cat!") == "sign ofa cat"
    assert normalise("An apple; the theory") == "apple theory"
    assert normalise("a the an") == ""
    assert normalise("caf\u00e9 \u2014 x") == "caf\u00e9 \u2014 x", "only ASCII punctuation goes"


F1 = {
    # 2 of 3 said, 2 of 2 wanted
    ("big red dog", "the Red dog"): 2 * (2 / 3) * 1 / (2 / 3 + 1),
    # as bags: "x x y" and "x y y" share one x and one y
    ("x x y", "x y y"): 2 / 3,
    ("cat", "dog"): 0.0,
    ("the", "a"): 0.0,
}


@pytest.mark.parametrize(("prediction", "reference"), F1)
def test_f1_worked_by_hand(prediction: str, reference: str) -> None:
    assert word_f1(prediction, reference) == F1[prediction, reference]


def test_the_best_alternative_counts_for_each_figure() -> None:
    scores = answer_scores(" Barack Obama ", {"Obama", "barack obama"})
    # no capital agrees in accuracy; "barack obama" in em and f1; ROUGE-L takes text as it is: one word of 2 and of 1
    assert scores == {"accuracy": 0.0, "em": 1.0, "f1": 1.0, "rougel": 2 * (0.5 / (1.5 + 1e-8))}
    assert answer_scores("the", ["a"]) == {"accuracy": 0.0, "em": 1.0, "f1": 0.0, "rougel": 0.0}
    assert answer_scores("SUPPORTS", ["SUPPORTS"])["accuracy"] == 1
    with pytest.raises(ValueError, match="alternative"):
        answer_scores("x", [])


def test_kilt_scores_count_only_where_the_pages_were_found() -> None:
    scores = {"em": 1.0, "f1": 0.5}
    assert kilt_scores(scores, 1.0) == {"KILT-em": 1.0, "KILT-f1": 0.5}
    assert kilt_scores(scores, 0.5) == {"KILT-em": 0.0, "KILT-f1": 0.0}


def test_alternatives_are_stripped_and_once_each() -> None:
    assert distinct_answers([" a", "b", "a ", "  "]) == ["a", "b"]
