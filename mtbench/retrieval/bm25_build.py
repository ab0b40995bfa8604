"""Building the BM25 index: sharded, mapped into memory by the search, and made by all processors.

bm25s stores, per term, the finished score of every passage that has it, so that a query is a sum of columns. The
index is built shard by shard: a first pass counts terms, and only when the whole corpus has been seen are the counts
turned into scores, with document frequencies and mean length of the *whole* corpus. Both passes go shard by shard, so
that processes share them: a shard is counted with a vocabulary of its own, and the vocabularies are joined in the
order of the shards. The files therefore depend neither on the number of processes nor, but for their division, on
``shard_size``. Each shard is a folder that ``bm25s.BM25.load`` opens.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from mtbench.errors import ConfigError
from mtbench.processes import ProcessPool, processors
from mtbench.retrieval.bm25 import SCHEMA, Analyzer, shard_name

BYTES_PER_PASSAGE = 2_500
"""Memory of counting, per passage of a hundred words."""
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class _Counted:
    """What is known of a shard when its terms have been counted."""

    terms: list[str]
    """Its vocabulary, in the order of first occurrence."""
    frequencies: np.ndarray
    """In how many of its passages each of these terms occurs, int64."""
    total_length: int
    passages: int


@dataclass(frozen=True)
class _Scoring:
    """What turns the counts of any shard into scores."""

    k1: float
    b: float
    mean_length: float
    folder: Path
    """Holds ``idf.npy``, float64 per term of the whole vocabulary."""


def build_bm25(
    texts: Iterable[str],
    folder: Path,
    *,
    k1: float = 0.9,
    b: float = 0.4,
    analyzer: Analyzer | None = None,
    shard_size: int = 200_000,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write the index of ``texts`` (one per passage, in the order of the corpus's rows) into ``folder``.

    The score of a term with frequency f in a passage of length l is idf * f / (f + k1 (1 - b + b l / mean l)) with
    idf = ln(1 + (N - df + 0.5) / (df + 0.5)). ``analyzer`` makes terms of texts (English if not given). A corpus of
    several shards is divided among ``workers`` processes (default: :func:`mtbench.processes.processors`, and no more
    than the free memory holds), which changes no byte. Memory of each grows with ``shard_size`` (passages; about
    2.5 kB each) and the number of distinct terms. ``progress`` is called with the number of passages of each shard
    that is counted, in order.

    Raises ConfigError for a setting out of range.
    """
    _check(k1, b, shard_size)
    folder.mkdir(parents=True, exist_ok=True)
    analyzer = analyzer or Analyzer()
    shards = _cut(texts, shard_size)
    beginning = list(islice(shards, 2))
    alone = len(beginning) < 2
    count = 1 if alone else min(workers or processors(), max(1, _free_memory() // (BYTES_PER_PASSAGE * shard_size)))
    vocabulary: dict[str, int] = {}
    frequencies: list[int] = []
    sizes: list[int] = []
    total_length = 0
    with _Crew(count) as crew:
        jobs = ((shard, analyzer.settings, folder / shard_name(i)) for i, shard in enumerate(chain(beginning, shards)))
        for number, counted in enumerate(crew.map(_count, jobs)):
            places = np.array([vocabulary.setdefault(term, len(vocabulary)) for term in counted.terms], dtype=np.int64)
            frequencies.extend([0] * (len(vocabulary) - len(frequencies)))
            for place, frequency in zip(places.tolist(), counted.frequencies.tolist(), strict=True):
                frequencies[place] += frequency
            # a shard's columns end with the last term that it or a shard before it has
            np.savez(folder / shard_name(number) / "places.npz", places=places, columns=len(vocabulary))
            total_length += counted.total_length
            sizes.append(counted.passages)
            if progress is not None:
                progress(counted.passages)
        _score_all(crew, folder, sizes, np.array(frequencies, dtype=np.int64), (k1, b, total_length))
    (folder / "vocabulary.json").write_text(json.dumps(list(vocabulary)), encoding="utf-8")
    index = {"schema": SCHEMA, "k1": k1, "b": b, **analyzer.settings, "num_passages": sum(sizes), "shards": sizes}
    (folder / "index.json").write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


def _score_all(
    crew: _Crew, folder: Path, sizes: Sequence[int], frequencies: np.ndarray, settings: tuple[float, float, int]
) -> None:
    k1, b, total_length = settings
    passages = sum(sizes)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".scoring-") as scratch:
        np.save(Path(scratch) / "idf.npy", np.log1p((passages - frequencies + 0.5) / (frequencies + 0.5)))
        scoring = _Scoring(k1, b, total_length / passages if total_length else 1.0, Path(scratch))
        jobs = ((folder / shard_name(number), size, scoring) for number, size in enumerate(sizes))
        for _ in crew.map(_score, jobs):
            pass


def _check(k1: float, b: float, shard_size: int) -> None:
    if not k1 >= 0:
        raise ConfigError(f"bm25.k1 is {k1}; it must be 0 or more")
    if not 0 <= b <= 1:
        raise ConfigError(f"bm25.b is {b}; it must be from 0 to 1")
    if shard_size < 1:
        raise ConfigError(f"bm25.shard_size is {shard_size}; it must be 1 or more")


def _cut(texts: Iterable[str], size: int) -> Iterator[list[str]]:
    remaining = iter(texts)
    while shard := list(islice(remaining, size)):
        yield shard


def _free_memory() -> int:
    """Bytes that can be had without swapping; plenty where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:  # not Linux
        return 2**62
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), 2**62)


class _Crew:
    """Does jobs in processes, or in this one where there is one alone or a process was killed."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._pool = ProcessPool(workers) if workers > 1 else None

    def __enter__(self) -> _Crew:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if self._pool is not None:
            self._pool.close(kill=error is not None)

    def map(self, function: Callable[..., _Result], jobs: Iterator[tuple[object, ...]]) -> Iterator[_Result]:
        """Results in the order of the jobs, of which at most one more than there are processes is held at a time."""
        waiting: deque[tuple[tuple[object, ...], Future[_Result]]] = deque()
        while True:
            while self._pool is not None and len(waiting) <= self._workers and (job := next(jobs, None)) is not None:
                waiting.append((job, self._pool.submit(function, *job)))
            if waiting:
                yield self._result(function, *waiting.popleft())
            elif (job := next(jobs, None)) is not None:
                yield function(*job)
            else:
                return

    def _result(self, function: Callable[..., _Result], job: tuple[object, ...], future: Future[_Result]) -> _Result:
        try:
            return future.result()
        except BrokenProcessPool as error:  # killed for memory, most likely
            if self._pool is not None:
                warnings.warn(f"a process of the BM25 index ended; one process goes on alone: {error}", stacklevel=2)
                self._pool.close(kill=True)
                self._pool = None
            return function(*job)


def _count(texts: list[str], analyzer: dict[str, object], folder: Path) -> _Counted:
    """Term frequencies of one shard, written in column order of a vocabulary of its own."""
    analyze = Analyzer.of(analyzer)
    vocabulary: dict[str, int] = {}
    tokens: list[np.ndarray] = []
    for text in texts:
        ids = [vocabulary.setdefault(term, len(vocabulary)) for term in analyze(text)]
        tokens.append(np.array(ids, dtype=np.int32))
    lengths = np.array([len(ids) for ids in tokens], dtype=np.int32)
    # One sorted key per (term, passage) pair is the order of a matrix stored by columns.
    flat = np.concatenate(tokens).astype(np.int64)
    keys, counts = np.unique((flat << 32) | np.repeat(np.arange(len(texts)), lengths), return_counts=True)
    frequencies = np.bincount(keys >> 32, minlength=len(vocabulary))
    folder.mkdir(exist_ok=True)
    np.save(folder / "counts.npy", counts.astype(np.int32))
    np.save(folder / "lengths.npy", lengths)
    np.save(folder / "indices.npy", (keys & 0xFFFFFFFF).astype(np.int32))
    np.save(folder / "sizes.npy", frequencies)
    return _Counted(list(vocabulary), frequencies, int(lengths.sum()), len(texts))


def _score(folder: Path, passages: int, scoring: _Scoring) -> None:
    """Turn the counts of one shard into scores and store them as a bm25s index, columns by the joint vocabulary."""
    import bm25s

    counts, lengths, indices, sizes = (
        np.load(folder / f"{name}.npy") for name in ("counts", "lengths", "indices", "sizes")
    )
    with np.load(folder / "places.npz") as stored:
        places, columns = stored["places"], int(stored["columns"])
    order = np.argsort(places)
    entries = _entries(sizes, order)
    counts, indices = counts[entries], indices[entries]
    indptr = np.zeros(columns + 1, dtype=np.int64)
    indptr[places + 1] = sizes
    np.cumsum(indptr, out=indptr)
    idf = np.load(scoring.folder / "idf.npy", mmap_mode="r")
    saturation = scoring.k1 * (1 - scoring.b + scoring.b * lengths / scoring.mean_length)
    scores = counts / (counts + saturation[indices]) * np.repeat(idf[:columns], np.diff(indptr))
    index = bm25s.BM25(k1=scoring.k1, b=scoring.b, method="lucene")
    index.scores = {
        "data": scores.astype(np.float32),
        "indices": indices,
        "indptr": indptr,
        "num_docs": passages,
    }
    index.vocab_dict = {}  # one vocabulary for all shards stands beside them
    index.nonoccurrence_array = None
    index.save(folder, show_progress=False)
    for name in ("counts.npy", "lengths.npy", "indices.npy", "sizes.npy", "places.npz"):
        (folder / name).unlink()


def _entries(sizes: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Places of the entries of columns of ``sizes``, the columns taken in ``order``."""
    starts = np.cumsum(sizes) - sizes
    shifts = starts[order] - (np.cumsum(sizes[order]) - sizes[order])
    return np.arange(int(sizes.sum())) + np.repeat(shifts, sizes[order])
