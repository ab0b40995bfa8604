"""Shared queries of two splits, against plain comparison of all pairs."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from mtbench.data.overlap import exact_overlap, near_overlap, words_of

TEXTS = st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=9).map(" ".join), max_size=12)


def test_exact_texts_but_for_case_and_spacing() -> None:
    assert exact_overlap(["Who  wrote it?", "b"], ["who wrote it?", "who wrote it", "B"]) == [0, 2]


def test_near_texts_share_four_words_in_five() -> None:
    train = ["who wrote the big red book"]
    assert near_overlap(train, ["Who wrote the big, red book?", "who wrote the red book", "who wrote a book"]) == [0, 1]


@settings(max_examples=300, deadline=None)
@given(TEXTS, TEXTS, st.sampled_from([0.5, 0.6, 0.8, 1.0]))
def test_the_filter_misses_nothing(train: list[str], dev: list[str], near: float) -> None:
    def similar(a: str, b: str) -> bool:
        x, y = words_of(a), words_of(b)
        return bool(x) and bool(y) and len(x & y) >= near * len(x | y)

    assert near_overlap(train, dev, near) == [i for i, b in enumerate(dev) if any(similar(a, b) for a in train)]
