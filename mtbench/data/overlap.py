"""Queries that two splits share: equal texts, and near duplicates by the words they consist of."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from mtbench.data import words as segmentation

NEAR = 0.8
"""Jaccard similarity of the word sets from which on two queries are near duplicates."""


def words_of(text: str) -> frozenset[str]:
    """The words of a text in lower case, punctuation dropped."""
    return frozenset(segmentation.words(text.casefold(), shortest=1))


def exact_overlap(train: Sequence[str], dev: Sequence[str]) -> list[int]:
    """Dev queries whose text (case and spacing aside) is a train query too."""
    known = {" ".join(text.casefold().split()) for text in train}
    return [index for index, text in enumerate(dev) if " ".join(text.casefold().split()) in known]


def near_overlap(train: Sequence[str], dev: Sequence[str], near: float = NEAR) -> list[int]:
    """Dev queries that share at least ``near`` of their words (Jaccard) with some train query; exact.

    Prefix filter (Chaudhuri et al., ICDE 2006): with words ordered from rare to frequent, sets that are so similar
    share a word among the first ``n - ceil(near n) + 1`` of each, so only those need an index.
    """
    train_sets, dev_sets = [words_of(text) for text in train], [words_of(text) for text in dev]
    frequency = Counter(word for words in (*train_sets, *dev_sets) for word in words)

    def prefix(words: frozenset[str]) -> list[str]:
        ordered = sorted(words, key=lambda word: (frequency[word], word))
        return ordered[: len(ordered) - math.ceil(near * len(ordered)) + 1]

    wanted: dict[str, list[int]] = {}
    for index, words in enumerate(dev_sets):
        for word in prefix(words):
            wanted.setdefault(word, []).append(index)
    found: set[int] = set()
    for words in set(train_sets):
        for index in {i for word in prefix(words) for i in wanted.get(word, ())} - found:
            other = dev_sets[index]
            if len(words & other) >= near * len(words | other):
                found.add(index)
    return sorted(found)
