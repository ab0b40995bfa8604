"""The BM25 index (Robertson and Zaragoza 2009, in Lucene's form): sharded, and mapped into memory by the search.

bm25s stores, per term, the finished score of every passage that has it, so that a query is a sum of columns. The
index is built here shard by shard: a first pass counts terms, and only when the whole corpus has been seen are the
counts turned into scores, with document frequencies and mean length of the *whole* corpus. Results therefore do not
depend on ``shard_size``, and memory depends on it alone. Each shard is a folder that ``bm25s.BM25.load`` opens.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np

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


def build_bm25(
    texts: Iterable[str],
    folder: Path,
    *,
    k1: float = 0.9,
    b: float = 0.4,
    analyzer: Analyzer | None = None,
    shard_size: int = 200_000,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Writes the index of ``texts`` (one per passage, in the order of the corpus's rows) into ``folder``.

    The score of a term with frequency f in a passage of length l is idf * f / (f + k1 (1 - b + b l / mean l)) with
    idf = ln(1 + (N - df + 0.5) / (df + 0.5)). ``analyzer`` makes terms of texts (English if not given). Memory grows
    with ``shard_size`` (passages; about 2.5 kB each) and the number of distinct terms. ``progress`` is called with the
    number of passages of each shard that is counted.

    Raises ConfigError for a setting out of range.
    """
    _check(k1, b, shard_size)
    folder.mkdir(parents=True, exist_ok=True)
    analyzer = analyzer or Analyzer()
    vocabulary: dict[str, int] = {}
    frequencies = np.zeros(0, dtype=np.int64)
    sizes: list[int] = []
    total_length = 0
    remaining = iter(texts)
    while shard := list(islice(remaining, shard_size)):
        token_of, lengths = _count(shard, analyzer, vocabulary, folder / shard_name(len(sizes)))
        counts = np.bincount(token_of, minlength=len(vocabulary))
        counts[: len(frequencies)] += frequencies
        frequencies = counts
        total_length += int(lengths.sum())
        sizes.append(len(shard))
        if progress is not None:
            progress(len(shard))
    passages = sum(sizes)
    idf = np.log1p((passages - frequencies + 0.5) / (frequencies + 0.5))
    mean_length = total_length / passages if total_length else 1.0
    for number, size in enumerate(sizes):
        _score_shard(folder / shard_name(number), idf, mean_length, k1, b, size)
    (folder / "vocabulary.json").write_text(json.dumps(list(vocabulary)), encoding="utf-8")
    index = {"schema": SCHEMA, "k1": k1, "b": b, **analyzer.settings, "num_passages": passages, "shards": sizes}
    (folder / "index.json").write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


def _check(k1: float, b: float, shard_size: int) -> None:
    if not k1 >= 0:
        raise ConfigError(f"bm25.k1 is {k1}; it must be 0 or more")
    if not 0 <= b <= 1:
        raise ConfigError(f"bm25.b is {b}; it must be from 0 to 1")
    if shard_size < 1:
        raise ConfigError(f"bm25.shard_size is {shard_size}; it must be 1 or more")


def shard_name(number: int) -> str:
    """The folder of shard ``number``."""
    return f"shard-{number:05d}"


def _count(
    texts: list[str], analyzer: Analyzer, vocabulary: dict[str, int], folder: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Term frequencies of one shard, written in column order; returns the term of each entry and the lengths."""
    tokens: list[np.ndarray] = []
    for text in texts:
        ids = [vocabulary.setdefault(term, len(vocabulary)) for term in analyzer(text)]
        tokens.append(np.array(ids, dtype=np.int32))
    lengths = np.array([len(ids) for ids in tokens], dtype=np.int32)
    # One sorted key per (term, passage) pair is the order of a matrix stored by columns.
    flat = np.concatenate(tokens).astype(np.int64)
    keys, counts = np.unique((flat << 32) | np.repeat(np.arange(len(texts)), lengths), return_counts=True)
    token_of = keys >> 32
    starts = np.zeros(len(vocabulary) + 1, dtype=np.int64)
    np.cumsum(np.bincount(token_of, minlength=len(vocabulary)), out=starts[1:])
    folder.mkdir(exist_ok=True)
    np.save(folder / "counts.npy", counts.astype(np.int32))
    np.save(folder / "lengths.npy", lengths)
    np.save(folder / "indices.npy", (keys & 0xFFFFFFFF).astype(np.int32))
    np.save(folder / "indptr.npy", starts)
    return token_of, lengths


def _score_shard(folder: Path, idf: np.ndarray, mean_length: float, k1: float, b: float, passages: int) -> None:
    """Turns the counts of one shard into scores and stores them as a bm25s index."""
    import bm25s

    counts, lengths, indices, indptr = (
        np.load(folder / f"{name}.npy") for name in ("counts", "lengths", "indices", "indptr")
    )
    saturation = k1 * (1 - b + b * lengths / mean_length)
    scores = counts / (counts + saturation[indices]) * np.repeat(idf[: len(indptr) - 1], np.diff(indptr))
    index = bm25s.BM25(k1=k1, b=b, method="lucene")
    index.scores = {
        "data": scores.astype(np.float32),
        "indices": indices,
        "indptr": indptr,
        "num_docs": passages,
    }
    index.vocab_dict = {}  # one vocabulary for all shards stands beside them
    index.nonoccurrence_array = None
    index.save(folder, show_progress=False)
    for name in ("counts", "lengths", "indices", "indptr"):
        (folder / f"{name}.npy").unlink()
