"""The record of a run: its type, and the rules that hold for every record.

A record is a plain dictionary with the keys of :class:`RunRecord`, on disk as JSON. Metrics are fractions of 1. New
keys are ``NotRequired``; a change that old readers would misread raises :data:`SCHEMA` and adds an upgrade to
``checking``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, NotRequired, TypedDict, get_args

from mtbench.records.curves import Analysis, HistoryEntry, Training
from mtbench.records.values import JsonObject, Params, Settings

SCHEMA = 1
"""The version this program writes. Files of older versions are upgraded when they are read."""

Status = Literal["running", "complete", "failed", "interrupted"]
STATUSES: tuple[Status, ...] = get_args(Status)

BASELINES = {
    "bm25": "BM25",
    "untrained": "untrained encoder",
    "closed-book": "closed book",
    "gold": "gold passages",
}
"""Rows that no optimizer makes, which have records like those of optimizers: name, which nobody else has -> label."""
RETRIEVERS = ("bm25", "untrained")
"""Those that find passages, and stand beside every run."""
READERS = ("closed-book", "gold")
"""Those that only answer (``--reader``): from no passages, and from the relevant ones."""


class OptimizerSpec(TypedDict):
    """The method; of a baseline the name alone, with empty ``params``."""

    name: str
    params: Params
    source: NotRequired[str]
    """Of a plugin: the hash of its code."""
    version: NotRequired[int]
    """Of the method; absent at 1."""


class EncoderSpec(TypedDict):
    """The encoder by content: ``tiny``, a folder's name and hash, or a hub's name and revision."""

    name: str
    sha256: NotRequired[str]
    revision: NotRequired[str]
    package: NotRequired[str]
    """Of ``package:MODULE/FOLDER``: what was installed, and its ``version``."""
    version: NotRequired[str]
    towers: NotRequired[str]
    """``copies`` where several towers of random weights begin as one; they were drawn apart until November 2026."""


class ProtocolSpec(TypedDict):
    """Which part of the tasks a run is about; absent where it trains on all and serves all."""

    name: str
    """A protocol's, or ``subset`` for tasks chosen by hand."""
    task: str | None
    """The one task whose figures count; None: those trained on."""
    tasks: list[str]
    """Trained on."""
    examples: int | None
    start: str
    budget: str
    fusion: NotRequired[str]
    """How the models of the runs on one task each were merged; such a run serves all tasks."""


class RunSpec(TypedDict):
    """Everything that determines a run, without a place; its hash is the run's id."""

    optimizer: OptimizerSpec
    suite: str
    suite_version: int
    suite_fingerprint: str
    profile: str
    seed: int
    encoder: NotRequired[EncoderSpec]
    config: Settings
    limit: int | None
    rules: NotRequired[dict[str, list[str]]]
    """Rules that the suite's data call for -> the tasks or corpora that they hold for."""
    protocol: NotRequired[ProtocolSpec]
    reader: NotRequired[JsonObject]
    """The settings of the reader and, as ``model``, its content (an :class:`EncoderSpec`); absent without one."""
    external: NotRequired[bool]
    tuned: NotRequired[JsonObject]
    """``trials`` and ``seeds`` of the tuning that chose the settings; absent where a person did."""


class TaskResult(TypedDict):
    """Mean scores of one task's dev queries: metric -> value, absent where it is not defined."""

    title: NotRequired[str]
    metrics: Mapping[str, float | None]
    num_queries: int
    counted: NotRequired[Mapping[str, int]]
    """Over how many of the queries a metric is the mean, where it is not all of them: the others have no judgements
    of passages."""
    downstream: NotRequired[Mapping[str, float]]
    """Scores of the reader's answers, as KILT counts them: metric -> value."""


class Downstream(TypedDict):
    """What the reader's answers are worth over all tasks that have any.

    ``average`` is over each task's own metric (``metrics``), ``kilt_average`` over the same where only answers count
    whose pages were found; both are absent unless every such task is there.
    """

    metrics: dict[str, str]
    average: NotRequired[float]
    kilt_average: NotRequired[float]
    per_query: PerQuery
    reader: JsonObject
    """How it was trained: steps, last loss, seconds of training and of answering."""


class Selection(TypedDict):
    """Scores on the slice of train that settings are chosen on; ``average`` as of the record."""

    tasks: dict[str, TaskResult]
    average: NotRequired[float]


class StageEntry(TypedDict):
    """One stage of the run, in the order in which they were computed or found. ``seconds``: of its computation."""

    name: str
    episode: NotRequired[int | None]
    fingerprint: str
    reused: bool
    seconds: float


CostName = Literal["step_ms", "total_seconds", "peak_memory_bytes", "optimizer_state_bytes"]
"""The costs that are one number, as tables and exports have them."""


class Cost(TypedDict, total=False):
    """What the run costs. Figures of steps are those of the last episode, where the method acts."""

    seconds: dict[str, float]
    """By stage's name; of a stage that was reused, those of its computation."""
    total_seconds: float
    computed_seconds: float
    """Of the stages that this run computed itself."""
    step_ms: float
    phase_ms: dict[str, float]
    peak_memory_bytes: int
    optimizer_state_bytes: int
    num_parameters: int


class Environment(TypedDict, total=False):
    """What computed the run; no host name, user or path."""

    git_commit: str | None
    mtbench: str
    python: str
    platform: str
    libraries: dict[str, str]
    device: str | None
    processor: str
    """Its model, as ``AMD EPYC 7763 64-Core Processor``; libraries choose their kernels by it."""
    threads: int
    """With which the stages were computed; torch's setting in the process that asked is not it."""


class ErrorInfo(TypedDict):
    """Why a run did not finish; paths are shortened."""

    type: str
    message: str
    traceback: list[str]


class RunWarning(TypedDict):
    """Something that whoever reads the figures should know; ``task`` is None where it concerns the run."""

    code: str
    message: str
    task: str | None


class PerQuery(TypedDict):
    """Where in the store the per-query scores stand."""

    stage: str
    fingerprint: str
    file: str
    sha256: str


class Tuning(TypedDict):
    """How many settings of the optimizer were tried, earlier sweeps included."""

    trials: int


class OutsideFile(TypedDict):
    """The file that an outside system's scores of one task come from; ``unanswered`` dev queries score 0."""

    file: str
    sha256: str
    unanswered: int


class RunSummary(TypedDict):
    """The part of a record that tables are made of: all that ``load_records(summary=True)`` reads."""

    schema: int
    run_id: str
    status: Status
    spec: RunSpec
    metric: NotRequired[str]
    """The suite's own."""
    tasks: dict[str, TaskResult]
    average: NotRequired[float]
    """See :func:`average`; absent unless every task is there."""
    cost: Cost
    environment: Environment
    per_query: NotRequired[PerQuery]
    downstream: NotRequired[Downstream]
    tuning: NotRequired[Tuning]
    warnings: NotRequired[list[RunWarning]]
    started: NotRequired[str]
    finished: NotRequired[str]
    error: ErrorInfo | None
    external: NotRequired[bool]
    """An outside system, entered with ``mtbench score --as``."""
    inputs: NotRequired[dict[str, OutsideFile]]
    folded: NotRequired[dict[str, RunRecord]]
    """In memory alone, of a protocol's row: task -> the run that serves it."""


class RunRecord(RunSummary):
    """A whole record. The keys of the skeleton are always there, the others as far as the run came."""

    stages: list[StageEntry]
    training: NotRequired[Training]
    negatives: NotRequired[dict[str, dict[str, dict[str, float]]]]
    """Stage and episode -> task -> figures of the mined negatives."""
    history: NotRequired[list[HistoryEntry]]
    selection: NotRequired[Selection]
    analysis: NotRequired[Analysis]


def average(tasks: Mapping[str, TaskResult], names: Iterable[str], metric: str) -> float | None:
    """The mean of ``metric`` over the tasks ``names``; None unless every one of them has it (a run without a task has
    no average)."""
    values = [tasks[name]["metrics"].get(metric) if name in tasks else None for name in names]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def served_tasks(spec: RunSpec) -> list[str] | None:
    """The tasks whose figures the run is there for; None: all of the suite."""
    protocol = spec.get("protocol")
    if protocol is None or "fusion" in protocol:
        return None
    return protocol["tasks"] if protocol["task"] is None else [protocol["task"]]


def optimizer_params(spec: RunSpec) -> Params:
    """``optimizer.params``, empty where there are none."""
    return dict(spec["optimizer"].get("params") or {})


def error_type(record: RunSummary) -> str | None:
    """The class of the error that stopped the run; None if nothing did."""
    error = record.get("error")
    return error.get("type") if error else None


def analysis_of(record: RunRecord) -> Analysis | None:
    """The record's analysis; None without one, or where an earlier version made it from other quantities."""
    found = record.get("analysis")
    return found if found is not None and "distribution" in found.get("entropy", {}) else None
