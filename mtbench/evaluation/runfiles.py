"""Run files: TREC runs and judgements, KILT predictions. Reading forgives white space, not broken data."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Protocol

import numpy as np

from mtbench.data.fields import grade as parse_grade
from mtbench.data.files import iter_lines
from mtbench.errors import DataError
from mtbench.evaluation.trec_ids import are_encoded, decode_id, encode_id

StrPath = str | PathLike[str]
Run = dict[str, dict[str, float]]
"""Query id -> passage id -> score, in the order of the file."""
Qrels = dict[str, dict[str, int]]
"""Query id -> passage id -> grade; 0 and below are judged and not relevant."""

RUN_COLUMNS = (5, 6)
QRELS_HEADER = ("query-id", "corpus-id", "score")


def read_trec_run(path: StrPath) -> Run:
    """A TREC run: ``query Q0 passage rank score tag`` with tabs or spaces; the tag may be absent.

    Where there are tabs between all columns, ids may hold spaces (as AIDA's query ids in KILT do).

    The rank column is ignored, as trec_eval ignores it. Raises :class:`DataError` for a wrong number of columns, a
    score that is no finite number, or a passage that stands twice under one query.
    """
    run: Run = {}
    for line, columns in columns_of(path, RUN_COLUMNS):
        if len(columns) not in RUN_COLUMNS:
            raise DataError(
                f"a run line has 6 columns (query Q0 passage rank score tag), this has {len(columns)}",
                path=path,
                line=line,
            )
        query, _, passage, _, score = columns[:5]
        results = run.setdefault(query, {})
        if passage in results:
            raise DataError(f"passage {passage!r} occurs twice for query {query!r}", path=path, line=line)
        results[passage] = _finite(score, path, line)
    if not run:
        raise DataError("the run has no lines", path=path)
    return run


def read_run_for(qrels: Qrels, path: StrPath) -> Run:
    """A TREC run that is to be scored on ``qrels``; ids that were encoded for it are those of the judgements again."""
    run = read_trec_run(path)
    judged = {passage for found in qrels.values() for passage in found}
    passages = (passage for results in run.values() for passage in results)
    encoded = are_encoded(run, qrels) or are_encoded(passages, judged)
    return decoded_run(run, path) if encoded else run


def decoded_run(run: Run, path: StrPath) -> Run:
    """A run with all its ids decoded; DataError if two become one."""
    result: Run = {}
    for query, results in run.items():
        found = result.setdefault(decode_id(query), {})
        for passage, score in results.items():
            name = decode_id(passage)
            if name in found:
                raise DataError(f"passage {name!r} occurs twice for query {query!r}, encoded and not", path=path)
            found[name] = score
    return result


def read_qrels(path: StrPath) -> Qrels:
    """Judgements: trec_eval's four columns (``query 0 passage grade``) or BEIR's three with a header line.

    Raises :class:`DataError` for a wrong number of columns, a grade that is no whole number, a pair judged twice with
    different grades, or a file without judgements.
    """
    qrels: Qrels = {}
    for line, columns in columns_of(path, (4,), QRELS_HEADER):
        if len(columns) not in (3, 4):
            raise DataError(
                f"a judgement has 4 columns (query 0 passage grade), or 3 in BEIR's form; this has {len(columns)}",
                path=path,
                line=line,
            )
        query, passage, grade = columns[0], columns[-2], columns[-1]
        value = parse_grade(grade, Path(path), line)
        judged = qrels.setdefault(query, {})
        if judged.get(passage, value) != value:
            raise DataError(
                f"query {query!r} and passage {passage!r} are judged twice, {judged[passage]} and {value}",
                path=path,
                line=line,
            )
        judged[passage] = value
    if not qrels:
        raise DataError("the file has no judgements", path=path)
    return qrels


def columns_of(path: StrPath, counts: Sequence[int], header: Sequence[str] = ()) -> Iterator[tuple[int, list[str]]]:
    """Fields of every line that is not blank, between white space.

    Below a header in tabs, and where tabs alone give one of the expected ``counts``, fields end at tabs.
    """
    separator: str | None = None
    for line, text in iter_lines(Path(path)):
        if line == 1 and header and text.split() == list(header):
            separator = "\t" if "\t" in text else None
        elif text.strip():
            at_tabs = text.count("\t") + 1 in counts
            yield line, [column.strip() for column in text.split("\t" if at_tabs else separator)]


class _Ranking(Protocol):
    @property
    def indices(self) -> np.ndarray: ...
    @property
    def scores(self) -> np.ndarray: ...


class _Queries(Protocol):
    @property
    def ids(self) -> Sequence[str]: ...
    def text(self, i: int, /) -> str: ...


class _Corpus(Protocol):
    @property
    def pages(self) -> np.ndarray: ...
    @property
    def page_names(self) -> Sequence[str]: ...
    def id(self, i: int, /) -> str: ...
    def title(self, i: int, /) -> str: ...


def trec_lines(ranking: _Ranking, query_ids: Sequence[str], corpus: _Corpus, tag: str = "mtbench") -> Iterator[str]:
    """Lines of a TREC run, ids without white space (``mtbench.evaluation.trec_ids``).

    Nine digits carry a float32 score exactly, so ties stay ties when it is read back.
    """
    for name, rows, scores in zip(query_ids, ranking.indices, ranking.scores, strict=True):
        query = encode_id(name)
        for rank, (row, score) in enumerate(zip(rows, scores, strict=True), start=1):
            if row < 0:
                break
            yield f"{query}\tQ0\t{encode_id(corpus.id(int(row)))}\t{rank}\t{score:.9g}\t{tag}\n"


def kilt_lines(
    ranking: _Ranking, queries: _Queries, corpus: _Corpus, answers: Sequence[str] | None = None
) -> Iterator[str]:
    """Lines of a KILT prediction file: each page once, best first, with the title of its best passage.

    ``answers``: of each query; None where nothing answered.
    """
    for i, rows in enumerate(ranking.indices):
        best: dict[int, int] = {}
        for row in rows[rows >= 0]:
            best.setdefault(int(corpus.pages[row]), int(row))
        provenance = [
            {"wikipedia_id": corpus.page_names[page], "title": corpus.title(row)} for page, row in best.items()
        ]
        record = {
            "id": queries.ids[i],
            "input": queries.text(i),
            "output": [{"answer": answers[i] if answers else "", "provenance": provenance}],
        }
        yield json.dumps(record, ensure_ascii=False) + "\n"


def write_lines(path: StrPath, lines: Iterable[str]) -> Path:
    """Write ``lines`` as UTF-8 with ``\\n`` ends, beside the target first and renamed when whole."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.part")
    with open(draft, "w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(lines)
    draft.replace(target)
    return target


def write_trec_run(
    path: StrPath, ranking: _Ranking, query_ids: Sequence[str], corpus: _Corpus, tag: str = "mtbench"
) -> Path:
    """Write a ranking as a TREC run file (see :func:`trec_lines`)."""
    return write_lines(path, trec_lines(ranking, query_ids, corpus, tag))


def write_kilt_predictions(
    path: StrPath, ranking: _Ranking, queries: _Queries, corpus: _Corpus, answers: Sequence[str] | None = None
) -> Path:
    """Write a ranking, with answers or without, as a KILT prediction file (see :func:`kilt_lines`)."""
    return write_lines(path, kilt_lines(ranking, queries, corpus, answers))


def _finite(text: str, path: StrPath, line: int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"the score must be a finite number, not {text!r}", path=path, line=line)
    return value
