"""The long parts of a record: what was logged while training, and the analysis of the trained encoder.

Every number may be None where it was not finite or not logged. Tables need none of this; figures do.
"""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

from mtbench.records.values import Params, Report

ByTask = dict[str, list[float | None]]
"""Task name -> a value for each logged step."""


class Validation(TypedDict):
    """Looks at a model while it was trained: mean reciprocal ranks on the slice of train (``training.validation``)."""

    steps: list[int]
    mrr: ByTask
    mean: list[float]
    kept: int | None
    """After how many steps the parameters that were kept stood; None: those of the last."""


class TrainingTotals(TypedDict):
    """The totals of one warm-up or episode."""

    optimizer: str
    params: Params
    steps: int
    skipped_steps: int
    """Steps without an update, because a loss or gradient was not finite."""
    clipped_share: float
    """Of the steps that were taken: how many had a longer update than clipping lets through."""
    step_difference: NotRequired[float | None]
    """How far Adam's step is from the one that naive would have made at the same state, over the length of the
    latter; mean over the logged steps. Absent in stages of before November 2026."""
    solver_fallbacks: int
    drawn_negatives: int
    """Negatives drawn at random where too few were mined."""
    update_digest: str
    """Of the norms of the first updates: equal for two methods that do the same."""
    optimizer_state_bytes: int
    num_parameters: int
    phase_ms: dict[str, float]
    """Median milliseconds by phase of a step."""
    step_ms: float
    peak_memory_bytes: int
    task_batch_sizes: dict[str, int]
    queries: NotRequired[dict[str, int]]
    """By task: training queries that went through it, repetitions included."""
    temperature: NotRequired[float]
    """Of T-SAGE: tau / (1 - beta^n) after the last of n updates; tau where its averages are bias-corrected."""
    validation: NotRequired[Validation]
    ranks: NotRequired[int]
    sharded: NotRequired[bool]


class TrainingSummary(TrainingTotals):
    """The totals as a record has them."""

    final_report: Report


class Cosines(TypedDict):
    """Mean pairwise cosines of the task gradients: ``mean[i][j]`` of ``tasks[i]`` and ``tasks[j]``."""

    tasks: list[str]
    mean: list[list[float]]


class EpisodeCurves(TypedDict):
    """One warm-up (episode 0) or episode: its totals, and values at the logged ``steps``."""

    episode: int
    summary: TrainingSummary
    optimizer: str
    skipped_steps: int
    clipped_share: float
    solver_fallbacks: int
    update_digest: str
    steps: list[int]
    losses: ByTask
    weights: ByTask
    gradient_norms: ByTask
    norm_before_clip: list[float | None]
    norm_after_clip: list[float | None]
    conflict_steps: NotRequired[list[int]]
    conflict_rate: NotRequired[list[float | None]]
    """Share of task pairs whose gradients have a negative cosine, at ``conflict_steps``."""
    cosines: NotRequired[Cosines]


CurveName = Literal["losses", "weights", "gradient_norms"]


class Training(TypedDict):
    """All episodes in their order."""

    episodes: list[EpisodeCurves]
    queries: NotRequired[dict[str, int]]
    """By task, over all episodes."""


class HistoryEntry(TypedDict):
    """The suite's metric on dev after one episode (0: after the warm-up)."""

    episode: int
    average: float | None
    tasks: dict[str, float | None]


class Sensitivity(TypedDict):
    """Histograms by task of log10 of raw sensitivities; ``bins`` are edges, on one grid for all runs."""

    tasks: list[str]
    bins: list[float]
    unit: str
    counts: dict[str, list[int]]
    outliers: dict[str, int]
    """Sensitivities that lie outside of the bins; zeros lie nowhere."""


class Thresholds(TypedDict, total=False):
    """Where the named bins of the entropy begin."""

    task_specific: float
    not_activated: float
    committed: float


class Entropy(TypedDict):
    """Histogram of the parameters' entropy over tasks, with the bins that are named; every parameter is counted once.

    ``bins`` are the edges of ``counts``, which begin where the task-specific ones end.
    """

    distribution: str
    tau: float | None
    bins: list[float]
    unit: str
    counts: list[int]
    unused: int
    """Parameters whose sensitivity is 0 for every task."""
    not_activated: int
    task_specific: int
    task_specific_by_task: dict[str, int]
    committed: int
    """Parameters that give one task more than ``thresholds.committed``, whatever their bin."""
    parameters: int
    thresholds: Thresholds


MedianOver = Literal["used by all tasks", "used by the task"]


class Medians(TypedDict):
    """By what sensitivities were divided: each task's median over the parameters ``over``, ``counted`` of them."""

    over: MedianOver
    counted: int
    by_task: dict[str, float]
    zeros_by_task: dict[str, int]


class Commitment(TypedDict):
    """How parameters kept their tasks in the last episode; empty for methods that average no sensitivities."""

    steps: list[int]
    rate: list[float]
    """At ``steps``: the share of the parameters that have the same task (argmax) as at the logged step before."""
    committed_steps: list[int]
    committed_share: list[float]
    """At ``committed_steps``: the share of the parameters of whose update one task gives more than .95."""


class Analysis(TypedDict):
    """What the stage ``analyze`` found."""

    sensitivity: Sensitivity
    entropy: Entropy
    medians: Medians
    commitment: Commitment
