"""Rules that only some suites' data call for, and counts that are checked before any work.

A rule that came after the first records enters only the fingerprints of suites that contain its case, so that all
others keep the ids and figures they have. Whether a suite contains one is seen by reading its raw files once; the
answer is kept beside the files' hashes.

``copies``
    A passage has the very text of a passage that is relevant to a training query: it is no negative of that query.
``own_ids``
    Training queries stand in the corpus that they search, under their own id: none is its own negative. (BEIR's rule,
    a task's ``ignore_identical_ids``, also keeps such passages out of rankings; it is part of the declaration.)
``words``
    Words with combining marks, or of scripts without blanks: BM25 follows Unicode's word segmentation.
``zero_judged``
    Dev queries whose judgements are all 0 or less score 0 and count, as under trec_eval.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from mtbench.data.overlap import NEAR, words_of
from mtbench.data.reading import iter_passages, read_task
from mtbench.data.types import Passage, QuerySplit, TaskData
from mtbench.data.words import plain_words, words
from mtbench.storage.atomic import write_json
from mtbench.suite import Corpus, Suite, Task

Rules = dict[str, list[str]]
"""Rule -> the corpora or tasks that call for it, sorted."""
STAGES = {
    "copies": ("prepare",),
    "own_ids": ("prepare",),
    "words": ("bm25",),
    "zero_judged": ("prepare", "external"),
}
"""The first stages whose results a rule changes; ``external`` is the scoring of other systems' files."""
RECORDED_BEFORE = {
    "aacdef5e953f7b58e18b25b995a8ad1df8005b04cc17cdd8366f61eef90de9a2": "own7@1",
    "64d15df3ae473d0b1a1beda723db34db82cfd926831cb6a27769bc36eccae7df": "wiki8@1",
}
"""Fingerprints of suites that contain a case and whose records came before the rules. These keep ids and figures
under the old rules until the suite's version rises."""
_FORMAT = 1


@dataclass(frozen=True)
class SuiteFacts:
    """What was counted in a suite's raw files."""

    passages: dict[str, int]
    """Corpus -> passages."""
    trainable: dict[str, int]
    """Task -> train queries with a relevant passage."""
    most_passages: dict[str, int]
    """Task -> most relevant passages that a dev query has."""
    most_pages: dict[str, int]
    """Task -> most pages in an evidence set of a dev query (0 without KILT data)."""
    own_ids: dict[str, int]
    """Task -> queries that stand in their corpus under their own id; absent where there are none."""
    zero_judged: dict[str, int]
    """Task -> dev queries that are judged and have no relevant passage; absent where there are none."""
    copies: list[str]
    """Corpora in which a passage relevant to a training query has a copy."""
    words: list[str]
    """Corpora whose texts or queries have other words by Unicode's segmentation than by letters alone."""

    def rules(self, suite: Suite, fingerprint: str) -> Rules:
        """The rules that ``suite`` calls for; none for one that was recorded before they came."""
        if fingerprint in RECORDED_BEFORE:
            return {}
        kept = [name for name in self.own_ids if not suite.task(name).ignore_identical_ids]
        found = {"copies": self.copies, "own_ids": kept, "words": self.words, "zero_judged": list(self.zero_judged)}
        return {rule: sorted(names) for rule, names in found.items() if names}

    def warnings(self, suite: Suite) -> tuple[tuple[str, str], ...]:
        """Code and message of what whoever reads figures of ``suite`` should know."""
        found = []
        for name, count in self.own_ids.items():
            if not suite.task(name).ignore_identical_ids:
                found.append(("own-ids", f"task {name}: {own_ids_sentence(count)}"))
        for name, count in self.zero_judged.items():
            found.append(("zero-judged", f"task {name}: {zero_judged_sentence(count)}"))
        return tuple(found)


def own_ids_sentence(count: int) -> str:
    """That queries find themselves, and how to ask for BEIR's rule."""
    return (
        f"{count} queries stand in the corpus under their own id and are ranked for themselves; BEIR leaves such "
        "passages out (ignore_identical_ids = true in the task's table of suite.toml)"
    )


def zero_judged_sentence(count: int) -> str:
    """That some dev queries can only score 0."""
    return f"{count} dev queries are judged and have no relevant passage; each scores 0"


def unjudged_sentence(count: int, total: int) -> str:
    """That metrics of passages leave some dev queries out."""
    return (
        f"{count} dev queries have no judgement of a passage: metrics of passages are means over the other "
        f"{total - count}, as under trec_eval"
    )


def rules_of_stage(rules: Rules, stage: str) -> Rules:
    """Those that stand in a stage's settings."""
    return {rule: names for rule, names in rules.items() if stage in STAGES[rule]}


def suite_facts(suite: Suite, fingerprint: str, home: Path) -> SuiteFacts:
    """The facts of the suite with this fingerprint, read once and kept in ``home``; DataError for malformed files."""
    cache = home / "raw" / "facts.json"
    try:
        known = json.loads(cache.read_text("utf-8"))
    except (OSError, ValueError):
        known = {}
    if known.get("format") != _FORMAT:
        known = {"format": _FORMAT}
    if fingerprint not in known:
        known[fingerprint] = asdict(read_facts(suite))
        cache.parent.mkdir(parents=True, exist_ok=True)
        write_json(cache, known)
    return SuiteFacts(**known[fingerprint])


def read_facts(suite: Suite, data: Mapping[str, TaskData] | None = None) -> SuiteFacts:
    """The facts, from the raw files (of tasks only where ``data`` does not hold them)."""
    data = data or {task.name: read_task(suite, task) for task in suite.tasks}
    corpora = [_CorpusScan(corpus, suite, data) for corpus in suite.corpora]
    for scan in corpora:
        scan.read(suite)
    own: Counter[str] = Counter()
    for scan in corpora:
        own.update(scan.own_ids())
    zero = {name: d.dev.num_zero_judged for name, d in data.items()}
    return SuiteFacts(
        passages={scan.corpus.name: scan.passages for scan in corpora},
        trainable={name: sum(map(bool, d.train.positives)) for name, d in data.items()},
        most_passages={name: max(map(len, d.dev.positives), default=0) for name, d in data.items()},
        most_pages={name: _most_pages(d.dev) for name, d in data.items()},
        own_ids=dict(own),
        zero_judged={name: count for name, count in zero.items() if count},
        copies=[scan.corpus.name for scan in corpora if scan.has_copies],
        words=[scan.corpus.name for scan in corpora if scan.has_words],
    )


def _most_pages(dev: QuerySplit) -> int:
    return max((len(set(pages)) for sets in dev.gold_pages or () for pages in sets), default=0)


class _CorpusScan:
    """One corpus with the splits that search it, read once."""

    def __init__(self, corpus: Corpus, suite: Suite, data: Mapping[str, TaskData]) -> None:
        self.corpus, self.passages = corpus, 0
        splits = [(task, split) for task in suite.tasks for split in _searching(task, data[task.name], corpus.name)]
        trained = [data[task.name].train for task in suite.tasks if task.corpus == corpus.name]
        self.has_words = any(_has_words(text) for _, split in splits for text in split.texts)
        self._relevant = {passage for split in trained for positives in split.positives for passage in positives}
        self._relevant_keys: set[int] = set()
        self._keys = array("q")
        self._asked: dict[str, list[tuple[str, str, Mapping[str, int]]]] = {}
        for task, split in splits:
            for name, text, positives in zip(split.ids, split.texts, split.positives, strict=True):
                self._asked.setdefault(name, []).append((task.name, text, positives))
        self._same_id: Counter[str] = Counter()
        self._same_text: Counter[str] = Counter()

    def read(self, suite: Suite) -> None:
        """Go through the passages."""
        for passage in iter_passages(suite, self.corpus):
            self.passages += 1
            key = hash(_copy_key(passage, self.corpus.passage_max_length))
            self._keys.append(key)
            if passage.id in self._relevant:
                self._relevant_keys.add(key)
            self.has_words = self.has_words or _has_words(f"{passage.title} {passage.text}")
            if passage.id in self._asked:
                self._look_for_own(passage)
        keys, counts = np.unique(np.frombuffer(self._keys, np.int64), return_counts=True)
        self.has_copies = not self._relevant_keys.isdisjoint(keys[counts > 1].tolist())
        self._keys, self._asked = array("q"), {}

    def _look_for_own(self, passage: Passage) -> None:
        found = words_of(f"{passage.title} {passage.text}")
        for task, text, positives in self._asked[passage.id]:
            if passage.id not in positives:
                self._same_id[task] += 1
                self._same_text[task] += stands_in(text, found)

    def own_ids(self) -> dict[str, int]:
        """Queries of each task that stand in this corpus under their own id.

        Ids that are mere numbers coincide by chance: a task has the case where most of the passages with a query's id
        also have its words.
        """
        return {task: n for task, n in self._same_id.items() if 2 * self._same_text[task] > n}


def _searching(task: Task, data: TaskData, corpus: str) -> Iterator[QuerySplit]:
    if task.corpus == corpus:
        yield data.train
    if (task.dev_corpus or task.corpus) == corpus:
        yield data.dev


def _has_words(text: str) -> bool:
    return not text.isascii() and words(text) != plain_words(text)


def _copy_key(passage: Passage, max_length: int) -> str:
    """Passages with this in common have the same tokens, as every word is one or more."""
    return " ".join(f"{passage.title} \0 {passage.text}".split(None, max_length)[:max_length])


def stands_in(text: str, found: frozenset[str]) -> bool:
    """Whether a passage with the words ``found`` has those of a query, but for a few."""
    asked = words_of(text)
    return bool(asked) and len(asked & found) >= NEAR * len(asked)
