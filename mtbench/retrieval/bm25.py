"""BM25 (Robertson and Zaragoza 2009, in Lucene's form): what building an index and searching it share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from mtbench.config import stemmers
from mtbench.data.words import plain_words, words
from mtbench.errors import ConfigError

# Lucene's and bm25s's English list, pinned here so that a new release of a library changes no result.
_ENGLISH = """
a an and are as at be but by for if in into is it no not of on or such that the their then there these they this to
was will with
"""
STOPWORDS = {"none": frozenset[str](), "english": frozenset(_ENGLISH.split())}
SCHEMA = 1
Segmentation = Literal["unicode", "plain"]
"""``plain``: words are cut at combining marks, as before November 2026."""


class Analyzer:
    """Text to terms: words in lower case (``mtbench.data.words``), stop words out, Snowball stems.

    ``stemmer`` is a Snowball language or ``none``, ``stopwords`` a name of :data:`STOPWORDS` or the words themselves.
    Raises ConfigError for one that is unknown.
    """

    def __init__(
        self,
        stemmer: str = "english",
        stopwords: str | Sequence[str] = "english",
        segmentation: Segmentation = "unicode",
    ) -> None:
        self.settings: dict[str, Any] = {
            "stemmer": stemmer,
            "stopwords": stopwords if isinstance(stopwords, str) else sorted(stopwords),
        }
        """What an index says of its terms, and an analyzer is made of."""
        if segmentation != "plain":  # absent from older indexes
            self.settings["segmentation"] = segmentation
        self._words = words if segmentation == "unicode" else plain_words
        self._stopwords = _stopword_set(stopwords)
        self._stem = _stemmer(stemmer)
        self._stems: dict[str, str] = {}

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Analyzer:
        """The analyzer with the ``settings`` that an index says of its terms."""
        return cls(settings["stemmer"], settings["stopwords"], settings.get("segmentation", "plain"))

    def __call__(self, text: str) -> list[str]:
        """The terms of ``text`` in order, repeated as often as they occur."""
        terms = []
        for word in self._words(text):
            if word in self._stopwords:
                continue
            stem = self._stems.get(word)
            if stem is None:
                stem = self._stems[word] = self._stem(word)
            terms.append(stem)
        return terms


def _stopword_set(stopwords: str | Sequence[str]) -> frozenset[str]:
    if not isinstance(stopwords, str):
        return frozenset(stopwords)
    if stopwords not in STOPWORDS:
        raise ConfigError(f"bm25.stopwords is {stopwords!r}; choose {' or '.join(STOPWORDS)}, or give a list of words")
    return STOPWORDS[stopwords]


def _stemmer(name: str) -> Callable[[str], str]:
    if name == "none":
        return lambda word: word
    if name not in stemmers():
        raise ConfigError(f"bm25.stemmer is {name!r}; choose {', '.join(stemmers())}")
    import Stemmer

    stem: Callable[[str], str] = Stemmer.Stemmer(name).stemWord
    return stem


def shard_name(number: int) -> str:
    """The folder of shard ``number`` in an index."""
    return f"shard-{number:05d}"
