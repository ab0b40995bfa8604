"""ROUGE-L as KILT's official script counts it: that of the Python package ``rouge``, summary level.

The measure is Lin's (2004), with what that package makes of it: sentences end at every full stop and nowhere else,
words are what spaces separate (case and punctuation stay), each word counts once, and the harmonic mean has 1e-8 in
its denominator, so that an answer equal to its reference scores 0.999999995. Written here because the package walks
back through its table by recursion, which a text of some hundred words exhausts, and refuses texts of full stops only.
"""

from __future__ import annotations

from collections.abc import Sequence

EPSILON = 1e-8


def rouge_l(prediction: str, reference: str) -> float:
    """F-measure of the union longest common subsequence, a fraction of 1; 0 where either text has no sentence."""
    said, wanted = _sentences(prediction), _sentences(reference)
    if not said or not wanted:
        return 0.0
    common: set[str] = set()
    for sentence in wanted:
        for other in said:
            common.update(_common_words(sentence, other))
    recall = len(common) / len({word for sentence in wanted for word in sentence})
    precision = len(common) / len({word for sentence in said for word in sentence})
    return 2.0 * ((precision * recall) / (precision + recall + EPSILON))


def _sentences(text: str) -> list[list[str]]:
    """The words of each sentence; one of spaces only is a sentence of one empty word, as in the package."""
    return [part.split() or [""] for part in text.split(".") if part]


def _common_words(first: Sequence[str], second: Sequence[str]) -> list[str]:
    """A longest common subsequence, last word first; of several the one that keeps more of ``first``'s end."""
    lengths = [[0] * (len(second) + 1)]
    for word in first:
        above, row = lengths[-1], [0]
        for column, other in enumerate(second):
            row.append(above[column] + 1 if word == other else max(above[column + 1], row[column]))
        lengths.append(row)
    found, i, j = [], len(first), len(second)
    while i and j:
        if first[i - 1] == second[j - 1]:
            found.append(first[i - 1])
            i, j = i - 1, j - 1
        elif lengths[i - 1][j] > lengths[i][j - 1]:
            i -= 1
        else:
            j -= 1
    return found
