"""Which passages hold an answer, by words."""

from __future__ import annotations

import numpy as np
import pytest

from mtbench.data.answer_match import AnswerFilter


class Corpus:
    def __init__(self, *texts: str) -> None:
        self._texts = texts

    def text(self, i: int) -> str:
        return self._texts[i]


TEXTS = (
    "The Lighthouse of Marn was lit in 1871.",
    "A light house stands there; nobody knows who built it.",
    "It was painted by A. B. Corey, and by others.",
    "Das Café Größe liegt am Fluß.",
    "नदी के पास एक पुराना घर",
    "",
)


@pytest.mark.parametrize(
    ("answers", "holding"),
    [
        (["lighthouse of MARN"], [0]),
        (["light house"], [1]),
        (["1871"], [0]),
        (["187"], []),
        (["a b corey"], [2]),
        (["nobody", "others"], [1, 2]),
        (["Cafe\u0301 größe"], [3]),
        (["पुराना घर"], [4]),
        (["..."], []),
        ([""], []),
        ([], []),
    ],
)
def test_words_one_after_the_other(answers: list[str], holding: list[int]) -> None:
    found = AnswerFilter([[], answers], Corpus(*TEXTS))(1, np.arange(len(TEXTS)))
    assert found.dtype == bool and np.flatnonzero(found).tolist() == holding
