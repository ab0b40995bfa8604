"""Whether a passage holds an answer: what must not be taken for a negative of a question.

As in DPR (Karpukhin et al., EMNLP 2020, section 4.1), by words: an answer's words stand in the passage's text one after
the other, whatever their case. Titles are not looked at. Words are those of ``mtbench.data.words``, so that punctuation
and combining marks are treated as everywhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from mtbench.data.words import words

SPAN_FAMILIES = ("qa", "slot_filling")
"""Families of tasks whose answers are spans of text. A verdict, an utterance or an entity is none."""


class Texts(Protocol):
    """What is needed of a corpus."""

    def text(self, i: int) -> str:
        """The text of passage i, without its title."""
        ...


class AnswerFilter:
    """``AnswerFilter(answers, corpus)(query, rows)``: which passages hold an answer of the query, bool[len(rows)]."""

    def __init__(self, answers: Sequence[Sequence[str]], corpus: Texts) -> None:
        self._answers, self._corpus = answers, corpus

    def __call__(self, query: int, rows: np.ndarray) -> np.ndarray:
        """Of the passages ``rows`` (n,)."""
        wanted = [found for answer in self._answers[query] if (found := _line(answer).strip())]
        if not wanted:
            return np.zeros(len(rows), dtype=bool)
        lines = (_line(self._corpus.text(int(row))) for row in rows)
        return np.array([any(f" {answer} " in line for answer in wanted) for line in lines], dtype=bool)


def _line(text: str) -> str:
    """The words of ``text`` between single blanks."""
    return f" {' '.join(words(text, 1))} "
