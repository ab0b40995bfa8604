"""ROUGE-L: worked by hand, and equal to the package that KILT's official script uses."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtbench.evaluation.rouge import rouge_l

WORKED = {
    # distinct words: 4 of 4 and 4 of 4
    ("a b c d", "a b c d"): (4, 4, 4),
    # b and d of four wanted, in order, among three said
    ("b d e", "a b c d"): (2, 3, 4),
    # order counts: of "d a" only one is in sequence
    ("d a", "a b c d"): (1, 2, 4),
    # a word counts once: one of one said, one of two wanted
    ("a a a", "a b"): (1, 1, 2),
    # case and punctuation stay
    ("A, b", "a b"): (1, 2, 2),
    # two sentences said, each common with the one wanted: w1 w2 and w1 w3 w5 make w1 w2 w3 w5 of w1..w5; said are 8
    ("w1 w2 w6 w7 w8. w1 w3 w8 w9 w5", "w1 w2 w3 w4 w5"): (4, 8, 5),
    # across sentences of the reference order is free
    ("c d. a b", "a b. c d"): (4, 4, 4),
}


@pytest.mark.parametrize(("prediction", "reference"), WORKED)
def test_worked_by_hand(prediction: str, reference: str) -> None:
    common, said, wanted = WORKED[prediction, reference]
    precision, recall = common / said, common / wanted
    assert rouge_l(prediction, reference) == 2 * (precision * recall / (precision + recall + 1e-8))


def test_nothing_in_common_or_nothing_said_is_zero() -> None:
    assert rouge_l("a b", "c") == 0
    assert rouge_l("...", "a") == rouge_l("a", ".") == rouge_l("", "a") == 0


def test_long_texts_are_no_matter() -> None:
    text = " ".join(f"w{i}" for i in range(3000))
    assert rouge_l(text, text.replace("w7 ", "x ")) == pytest.approx(2999 / 3000, abs=1e-6)


TEXTS = st.text(alphabet=["a", "b", "c", "d", "A", ",", " ", " ", "."], min_size=1, max_size=24)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(TEXTS, TEXTS)
def test_equal_to_the_package_of_the_official_script(prediction: str, reference: str) -> None:
    theirs = pytest.importorskip("rouge").Rouge(metrics=["rouge-l"])
    if not prediction.strip(".") or not reference.strip("."):
        with pytest.raises(ValueError, match="at least 1 sentence"):
            theirs.get_scores(prediction, reference, avg=True)
        return
    assert rouge_l(prediction, reference) == theirs.get_scores(prediction, reference, avg=True)["rouge-l"]["f"]
