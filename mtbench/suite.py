"""What a suite of retrieval tasks is: declarations only, no reading and no heavy imports.

A suite names corpora and tasks. Each names files below ``Suite.root`` and the *format* they are in; the readers in
``mtbench.data`` turn these into passages, queries and judgements. ``tasks/NAME.py`` holds one :class:`SuiteDefinition`
per built-in suite; a folder with a ``suite.toml`` is a suite of its own.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from mtbench.records.values import Settings

METRICS = ("rprecision_page", "rprecision_passage", "recall@20", "recall@100", "mrr@10", "ndcg@10", "success@1")
FAMILIES = ("qa", "fact_checking", "slot_filling", "entity_linking", "dialogue", "ad_hoc")


@dataclass(frozen=True)
class Corpus:
    """One collection of passages. ``path`` (or several ``paths``) is relative to the suite's root."""

    name: str
    path: str
    format: str = "beir"
    """``beir`` (corpus.jsonl), ``psgs_w100``, ``msmarco``, ``zeshel``."""
    passage_max_length: int = 160
    """Tokens per passage, the closing special token included."""
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """One retrieval task: its queries, judgements, prompt and corpus. Paths are relative to the suite's root."""

    name: str
    corpus: str
    queries: str
    """File of the queries' texts (for the format ``kilt``: the DPR-style train file)."""
    train_qrels: str
    """Empty: the task is never trained on, only scored."""
    dev_qrels: str
    title: str = ""
    family: str = "qa"
    """One of :data:`FAMILIES`; used by ``prompt="family"``."""
    prompt: str = ""
    query_max_length: int = 32
    """Tokens of the query, without those of the prompt."""
    kilt_dev: str | None = None
    """KILT file with the gold page sets of the dev queries, aligned by id."""
    dev_corpus: str | None = None
    """Corpus that dev queries search, if it is not the one of the train queries (ZESHEL's worlds)."""
    format: str = "beir"
    """``beir`` or a raw format of a built-in suite (``kilt``, ``msmarco``, ``zeshel``)."""
    options: dict[str, Any] = field(default_factory=dict)
    ignore_identical_ids: bool = False
    """BEIR's rule for ArguAna and Quora: a passage with the query's own id is neither ranked nor a negative."""
    test: str = ""
    """File of queries without judgements, which ``mtbench export --split test`` ranks; no run depends on it."""


@dataclass(frozen=True)
class Suite:
    """A set of tasks that are trained together, with the metric that ranks systems."""

    name: str
    version: int
    metric: str
    corpora: tuple[Corpus, ...]
    tasks: tuple[Task, ...]
    root: Path
    title: str = ""
    licences: dict[str, str] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    weights: dict[str, dict[str, float]] = field(default_factory=dict)
    """Sets of numbers per task that have a name: ``--set static.weights=@NAME``. A task that is not named has 1."""
    settings: Settings = field(default_factory=dict)
    """Settings of the pipeline (section -> key -> value) over those of the profile ``mini``, for its tiny encoder."""

    @property
    def label(self) -> str:
        """``NAME@VERSION``, as it stands in result paths and tables."""
        return f"{self.name}@{self.version}"

    @property
    def determinants(self) -> dict[str, Any]:
        """The declaration as plain values, without the folder and without what only people read.

        A licence or a title may be corrected without making all that was computed before void. Sets of weights are
        hyperparameters: a run's specification has their numbers, as it has the values of all settings.
        """
        values = asdict(self)
        for shown in ("root", "title", "licences", "sources", "weights", "settings"):
            del values[shown]
        for task in values["tasks"]:
            del task["title"], task["test"]
            if not task["ignore_identical_ids"]:  # newer than the first records
                del task["ignore_identical_ids"]
        return values

    def corpus(self, name: str) -> Corpus:
        """The corpus called ``name``; KeyError if there is none (suites are validated when they are loaded)."""
        return {c.name: c for c in self.corpora}[name]

    def task(self, name: str) -> Task:
        """The task called ``name``; KeyError if there is none."""
        return {t.name: t for t in self.tasks}[name]


class SuiteDefinition:
    """Base of a built-in or plugin suite: one subclass per file in ``tasks/``.

    A subclass sets the class variables and implements :meth:`suite`. ``profiles`` says for which profiles data
    exists; ``generator`` names (``module:function``) what writes the ``mini`` profile's raw files as
    ``function(folder: Path, seed: int) -> None``; ``downloads`` lists the files of the ``paper`` profile.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    version: ClassVar[int] = 1
    metric: ClassVar[str] = "rprecision_page"
    profiles: ClassVar[tuple[str, ...]] = ("mini", "paper")
    generator: ClassVar[str | None] = None
    generator_seed: ClassVar[int] = 0
    downloads: ClassVar[tuple[Download, ...]] = ()
    licences: ClassVar[dict[str, str]] = {}
    sources: ClassVar[dict[str, str]] = {}
    settings: ClassVar[Settings] = {}
    """As :attr:`Suite.settings`, for who asks before there are data."""
    published_counts: ClassVar[dict[str, tuple[int, int]]] = {}
    """Train and dev queries of each task as the papers count them, for the profile ``paper``."""
    published_counts_note: ClassVar[str] = ""
    """Why counts may differ, for the reader of ``mtbench check suite``."""

    def suite(self, root: Path, profile: Literal["mini", "paper"] | str) -> Suite:
        """The declaration of this suite over raw files in ``root``."""
        raise NotImplementedError(f"{type(self).__name__} must implement suite(root, profile)")


@dataclass(frozen=True)
class Download:
    """One official file: where it is, how large, and how it is checked."""

    path: str
    """File name below the raw folder."""
    urls: tuple[str, ...]
    """Tried in order; mirrors and moved hosts come after the first."""
    size: int | None = None
    """Bytes, where the publisher states it."""
    md5: str | None = None
    sha256: str | None = None
    unpack: bool = False
    """An archive (zip, tar.gz) that is unpacked beside itself."""
    unpack_into: str = ""
    """Folder for the members, if it is not the archive's own."""
    members: tuple[str, ...] = ()
    """Members of the archive that are needed; empty: all of them."""
    optional: bool = False
    """Not needed by the suite's tasks: named for those who want it, neither fetched nor checked."""
    manual: str = ""
    """How to get a file that no program can fetch (a page with a form, a shared drive)."""
    instead: tuple[Download, ...] = ()
    """The needed members one by one (on the Hugging Face hub), for when no source of the archive answers."""
