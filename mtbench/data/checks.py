"""``mtbench check suite``: whether a suite's data hold together, one sentence per check."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mtbench.data.loading import data_profile, load_suite, suite_folder
from mtbench.data.overlap import exact_overlap, near_overlap
from mtbench.data.reading import read_corpus, read_task
from mtbench.data.rules import SuiteFacts, own_ids_sentence, read_facts, unjudged_sentence, zero_judged_sentence
from mtbench.data.types import Notes, QuerySplit, TaskData
from mtbench.errors import MtbenchError, UnknownNameError
from mtbench.registry import get_suite
from mtbench.suite import Corpus, Suite, Task

NEAR_LIMIT = 200_000
"""Train queries up to which near duplicates are searched for."""
KNOWN_PAGES = 0.9
"""Share of the gold pages that the corpus must have."""
Evaluate = Callable[[Any, Any, Any, str], dict[str, np.ndarray]]


@dataclass(frozen=True)
class Check:
    """One thing that was checked."""

    name: str
    ok: bool
    sentence: str


def check_suite(
    name_or_path: str | Path,
    profile: str = "mini",
    *,
    evaluate: Evaluate | None = None,
    raw: Path | None = None,
    home: Path | None = None,
) -> list[Check]:
    """All checks of a suite, in order; reading stops at the first error of the data, which is then the last check.

    ``evaluate`` is ``mtbench.evaluation``'s ``evaluate_task(ranking, queries, corpus, metric)``; with it the
    suite's metric is tried on the best possible ranking, on an empty one and on fewer queries.
    """
    checks: list[Check] = []
    try:
        suite = load_suite(name_or_path, profile, raw, home)
        checks.append(Check("declaration", True, f"{suite.label}: {len(suite.tasks)} tasks, every file is there"))
        checks.append(_licences(suite))
        data: dict[str, TaskData] = {}
        for task in suite.tasks:
            notes = Notes()
            data[task.name] = read_task(suite, task, notes)
            checks += _task_checks(task, data[task.name], notes)
        for corpus in suite.corpora:
            checks += _corpus_checks(suite, corpus, data)
        checks += _fact_checks(suite, read_facts(suite, data))
        if suite_folder(name_or_path) is None:
            checks += _count_checks(str(name_or_path), profile, data)
    except UnknownNameError:
        raise
    except MtbenchError as error:
        return [*checks, Check("data", False, str(error))]
    if evaluate is not None:
        for task in suite.tasks:
            checks += metric_checks(task.name, suite.metric, data[task.name].dev, evaluate)
    return checks


def _licences(suite: Suite) -> Check:
    if suite.licences:
        return Check("licences", True, f"licences of {len(suite.licences)} parts are stated")
    return Check("licences", True, "no licences are stated; a [licences] table in suite.toml can state them")


def _task_checks(task: Task, data: TaskData, notes: Notes) -> Iterator[Check]:
    train, dev = data.train, data.dev
    sentence = f"{len(train):,} train and {len(dev):,} dev queries"
    said = [zero_judged_sentence(dev.num_zero_judged)] if dev.num_zero_judged else []
    unjudged = dev.which_judged.count(False)
    if 0 < unjudged < len(dev):
        said.append(unjudged_sentence(unjudged, len(dev)))
    yield Check(f"{task.name}: queries", len(dev) > 0, "; ".join([sentence, *said, *notes.sentences()]))
    empty = [
        name for split in (train, dev) for name, text in zip(split.ids, split.texts, strict=True) if not text.strip()
    ]
    yield Check(
        f"{task.name}: texts",
        not empty,
        f"{len(empty)} queries have no text (first: {empty[0]})" if empty else "every query has a text",
    )
    if task.format != "kilt":  # there, ids of train queries are row numbers
        both = sorted(set(train.ids) & set(dev.ids))
        sentence = (
            f"{len(both)} query ids are in train and dev (first: {both[0]})" if both else "train and dev share no id"
        )
        yield Check(f"{task.name}: splits", not both, sentence)
    yield Check(f"{task.name}: overlap", True, _overlap(train, dev))


def _overlap(train: QuerySplit, dev: QuerySplit) -> str:
    exact = exact_overlap(train.texts, dev.texts)
    sentence = f"{len(exact)} of {len(dev)} dev texts are train texts too"
    if len(train) > NEAR_LIMIT:
        return f"{sentence}; near duplicates were not searched for ({len(train):,} train queries)"
    near = set(near_overlap(train.texts, dev.texts)) - set(exact)
    return f"{sentence}, {len(near)} more share 80 % of their words with one"


def _corpus_checks(suite: Suite, corpus: Corpus, data: dict[str, TaskData]) -> Iterator[Check]:
    """Reads the corpus once: ids (as 64-bit hashes), judged passages and gold pages looked up as they come."""
    users = [
        (task.name, name, split)
        for task in suite.tasks
        for name, split, searched in (
            ("train", data[task.name].train, task.corpus),
            ("dev", data[task.name].dev, task.dev_corpus or task.corpus),
        )
        if searched == corpus.name
    ]
    judged = {passage for _, _, split in users for positives in split.positives for passage in positives}
    gold = {page for _, _, split in users for sets in split.gold_pages or () for pages in sets for page in pages}
    pages, notes, hashes = set(gold), Notes(), []
    for _, _, passage in read_corpus(suite, corpus, notes):
        hashes.append(hash(passage.id))
        judged.discard(passage.id)
        pages.discard(passage.page)
    ids = np.asarray(hashes, np.int64)
    repeated = len(ids) - len(np.unique(ids))
    size = "; ".join([f"{len(ids):,} passages", *notes.sentences()])
    yield Check(f"{corpus.name}: passages", len(ids) > 0, size)
    yield Check(f"{corpus.name}: ids", repeated == 0, f"{repeated} ids occur twice" if repeated else "ids are unique")
    if users:
        names = ", ".join(dict.fromkeys(name for name, _, _ in users))
        sentence = f"every judged passage of {names} is in it" if not judged else (
            f"{len(judged)} judged passages are not in it (first: {min(judged)})"
        )  # fmt: skip
        yield Check(f"{corpus.name}: judgements", not judged, sentence)
    if gold:
        known = 1 - len(pages) / len(gold)
        example = f" (missing, e.g.: {min(pages)})" if pages else ""
        yield Check(
            f"{corpus.name}: pages",
            known >= KNOWN_PAGES,
            f"{100 * known:.1f} % of {len(gold):,} gold pages are in it{example}",
        )


def _count_checks(name: str, profile: str, data: dict[str, TaskData]) -> Iterator[Check]:
    """Numbers of queries against the papers' table, for real data."""
    definition = get_suite(name)
    if data_profile(profile, definition) != "paper":
        return
    for task, (train, dev) in definition.published_counts.items():
        found = (len(data[task].train), len(data[task].dev))
        off = max(abs(a - b) / b for a, b in zip(found, (train, dev), strict=True))
        sentence = f"train {found[0]:,} (published {train:,}), dev {found[1]:,} ({dev:,})"
        if off > 0.01:
            sentence += f"; {definition.published_counts_note}"
        yield Check(f"{task}: counts", off <= 0.05, sentence)


def _fact_checks(suite: Suite, facts: SuiteFacts) -> Iterator[Check]:
    """What is no mistake, but changes figures or training."""
    for task in suite.tasks:
        own = facts.own_ids.get(task.name, 0)
        if task.ignore_identical_ids:
            sentence = f"{own} queries stand in the corpus under their own id; these passages are left out"
        else:
            sentence = own_ids_sentence(own) if own else "no query stands in the corpus under its own id"
        yield Check(f"{task.name}: own ids", True, sentence)
    for corpus in facts.copies:
        sentence = "relevant passages have copies under other ids, which are no negatives"
        yield Check(f"{corpus}: copies", True, sentence)


@dataclass
class _Ranking:
    """What the evaluation needs of a ranking: corpus rows int32[Q, k], best first, and their scores."""

    indices: np.ndarray
    scores: np.ndarray


class _Corpus:
    """A stand-in for a corpus that holds exactly the judged passages, and one passage for every gold page."""

    def __init__(self, split: QuerySplit) -> None:
        passages = {p for positives in split.positives for p in positives}
        pages = {p for sets in split.gold_pages or () for found in sets for p in found}
        self.row = {("passage", name): i for i, name in enumerate(sorted(passages))}
        self.row |= {("page", name): len(passages) + i for i, name in enumerate(sorted(pages))}
        self.pages = np.arange(max(1, len(self.row)), dtype=np.int32)
        self.id_rank = np.arange(max(1, len(self.row)), dtype=np.int32)
        self.lengths = np.ones(max(1, len(self.row)), np.int32)

    def __len__(self) -> int:
        return len(self.pages)


class _Queries:
    """A split in the form that the evaluation reads, over a stand-in corpus."""

    def __init__(self, split: QuerySplit, corpus: _Corpus, chosen: Sequence[int]) -> None:
        self._split, self._row, self._chosen = split, corpus.row, chosen
        self.ids = [split.ids[i] for i in chosen]

    def __len__(self) -> int:
        return len(self._chosen)

    def positives(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        found = self._split.positives[self._chosen[i]]
        rows = np.asarray([self._row["passage", name] for name in found], np.int32)
        return rows, np.asarray(list(found.values()), np.int32)

    def is_judged(self, i: int) -> bool:
        return self._split.which_judged[self._chosen[i]]

    def gold_pages(self, i: int) -> list[np.ndarray] | None:
        if self._split.gold_pages is None:
            return None
        sets = self._split.gold_pages[self._chosen[i]]
        return [np.asarray([self._row["page", name] for name in pages], np.int32) for pages in sets]


def metric_checks(task: str, metric: str, dev: QuerySplit, evaluate: Evaluate) -> Iterator[Check]:
    """The suite's metric on the best ranking (1), on an empty one (0), and with fewer queries answered (never more)."""
    corpus = _Corpus(dev)
    everything = list(range(len(dev)))
    queries = _Queries(dev, corpus, everything)
    best = [_best_rows(queries, i, metric) for i in everything]
    width = max(100, max(map(len, best), default=1))
    indices = np.full((len(best), width), -1, np.int32)
    for row, found in zip(indices, best, strict=True):
        row[: len(found)] = found
    scores = np.broadcast_to(-np.arange(width, dtype=np.float32), indices.shape).copy()

    def mean(answered: np.ndarray) -> float:
        shown = np.where(answered[:, None], indices, -1)
        values = evaluate(
            _Ranking(shown, np.where(shown >= 0, scores, -np.inf).astype(np.float32)), queries, corpus, metric
        )
        return float(np.nanmean(values[metric])) if metric in values else float("nan")

    oracle, empty, half = (
        mean(np.ones(len(best), bool)),
        mean(np.zeros(len(best), bool)),
        mean(np.arange(len(best)) % 2 == 0),
    )
    counted = [i for i in everything if metric == "rprecision_page" or queries.is_judged(i)]
    limit = float(np.mean([bool(best[i]) for i in counted])) if counted else 1.0
    wide = metric.startswith("recall") and max(map(len, best), default=0) > int(metric.split("@")[1])
    yield Check(
        f"{task}: best ranking",
        abs(oracle - limit) < 1e-6 or wide,
        f"{metric} of the best ranking is {oracle:.4f} of {limit:.4f}",
    )
    yield Check(f"{task}: empty ranking", empty == 0.0, f"{metric} of an empty ranking is {empty:.4f}")
    yield Check(f"{task}: fewer answers", half <= oracle, f"{metric} with every second query answered is {half:.4f}")


def _best_rows(queries: _Queries, i: int, metric: str) -> list[int]:
    sets = queries.gold_pages(i)
    if metric == "rprecision_page" and sets is not None:
        return [int(row) for row in min(sets, key=len)] if sets else []
    rows, relevance = queries.positives(i)
    return [int(row) for row in rows[np.argsort(-relevance, kind="stable")]]
