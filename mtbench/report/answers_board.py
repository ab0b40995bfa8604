"""The board ``--downstream``: what a retriever finds and what a reader answers from it, side by side.

Answers have the statistics of every other board: seeds carry the evidence, tests are paired and Holm-corrected. The
correlation is over pairs of a method and a task: whether where a method gains in retrieval it gains in answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mtbench.config import profile_name
from mtbench.errors import UsageError
from mtbench.records.files import Loaded, load_records
from mtbench.records.record import READERS
from mtbench.report.answering import ANSWERS, KILT_ANSWERS, as_answers, as_retrieval, has_reader
from mtbench.report.board import DEFAULT_BASELINE, Board
from mtbench.report.leaderboard import build_board, suite_name
from mtbench.report.published import Reported, downstream_systems
from mtbench.report.rows import Row
from mtbench.report.statistics import Estimate

RESAMPLES = 2000


@dataclass(frozen=True)
class AnswerRow:
    """One method: its row among answers, and the same run's row among retrievers (None for one that finds nothing)."""

    answers: Row
    retrieval: Row | None
    kilt: Estimate
    """The average where only answers count whose pages were found."""

    @property
    def name(self) -> str:
        """Of the row."""
        return self.answers.name


@dataclass(frozen=True)
class Correlation:
    """Gains of answers against gains of retrieval over pairs of a method and a task, with a 95 % interval.

    The interval is a bootstrap over tasks, each with all its methods: pairs of one task share its passages and its
    reader. ``slope``: points of answers for one point of retrieval (least squares). ``reason``: why there is none.
    """

    r: float | None
    low: float | None = None
    high: float | None = None
    slope: float | None = None
    pairs: int = 0
    methods: int = 0
    tasks: int = 0
    reason: str | None = None


@dataclass(frozen=True)
class AnswersBoard:
    """Rows best answers first, then the papers' figures."""

    board: Board
    """Of the answers: tasks, baseline, notes."""
    metrics: dict[str, str]
    """Task -> the figure that it is ranked by."""
    retrieval_metric: str
    rows: list[AnswerRow]
    correlation: Correlation
    published: list[Reported] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def load_answers(
    results: Path, suite: str, profile: str, *, baseline: str = DEFAULT_BASELINE, published: bool = False
) -> AnswersBoard:
    """The board of one suite and profile; UsageError, with the command, where no run has a reader."""
    suite, profile = suite_name(suite), profile_name(profile)
    loaded = [item for item in load_records(results, suite=suite, profile=profile, summary=True) if has_reader(item)]
    if not loaded:
        raise UsageError(
            f"no run of the suite {suite!r} in the profile {profile!r} below {results}/runs has a reader\n"
            f"  Make some: mtbench run --optimizer naive,tsage --suite {suite} --profile {profile} --reader"
        )
    return build_answers(loaded, baseline=baseline, published=published)


def build_answers(
    loaded: Sequence[Loaded], *, baseline: str = DEFAULT_BASELINE, published: bool = False, limited: bool = False
) -> AnswersBoard:
    """The board of records with a reader; ``limited`` keeps runs with ``--limit``."""
    answering = as_answers(loaded)
    board = build_board(answering, metric=ANSWERS, baseline=baseline, limited=limited)
    kilt = build_board(answering, metric=KILT_ANSWERS, baseline=baseline, limited=limited)
    retrieval = build_board(as_retrieval(loaded), baseline=baseline, limited=limited)
    found, strict = {r.name: r for r in retrieval.rows}, {r.name: r for r in kilt.rows}
    rows = [
        AnswerRow(
            row,
            None if row.optimizer == "closed-book" else found.get(row.name),
            strict[row.name].average if row.name in strict else Estimate(None, reason="no gold pages"),
        )
        for row in board.rows
    ]
    told = [item.record["downstream"]["metrics"] for item in loaded if "downstream" in item.record]
    metrics = {task: metric for one in told for task, metric in one.items()}
    kinds = {m: ", ".join(t for t, own in metrics.items() if own == m) for m in dict.fromkeys(metrics.values())}
    notes = [
        f"answers: {'; '.join(f'{metric} of {names}' for metric, names in kinds.items())}. KILT: the same where all "
        "pages of an evidence set were found first.",
        "closed book: a reader without passages; gold passages: with the judged ones.",
    ]
    reported = downstream_systems(board.suite, list(board.tasks)) if published else []
    if reported:
        notes.append(
            "reported: Maillard et al. (ACL 2021), Table 4, on KILT's test sets, without T-REx; not measured here"
            + ("" if board.profile == "paper" else f", and not comparable with the profile {board.profile!r}")
            + "."
        )
    elif published:
        notes.append(f"No published answers are comparable with {board.label}.")
    compared = [row for row in rows if row.answers.optimizer not in READERS]
    return AnswersBoard(
        board, metrics, retrieval.metric, rows, correlate(compared, list(board.tasks)), reported, [*notes, *board.notes]
    )


def correlate(rows: Sequence[AnswerRow], tasks: Sequence[str]) -> Correlation:
    """Pearson's r of the gains over the baseline, seeds averaged, over all rows and tasks that have both."""
    gains: dict[str, list[tuple[float, float]]] = {}
    methods = set()
    for row in rows:
        for task in tasks:
            pair = _gains(row, task)
            if pair is not None:
                gains.setdefault(task, []).append(pair)
                methods.add(row.name)
    pairs = sum(map(len, gains.values()))
    if len(gains) < 3 or not methods:
        reason = "needs a method besides the baseline, on three tasks or more"
        return Correlation(None, pairs=pairs, methods=len(methods), tasks=len(gains), reason=reason)
    groups = [np.array(values) for values in gains.values()]
    whole = np.concatenate(groups)
    r = _pearson(whole)
    if r is None:
        return Correlation(None, pairs=pairs, methods=len(methods), tasks=len(gains), reason="all gains are equal")
    random = np.random.default_rng(0)
    drawn = (random.integers(0, len(groups), len(groups)) for _ in range(RESAMPLES))
    resampled = [x for x in (_pearson(np.concatenate([groups[i] for i in d])) for d in drawn) if x is not None]
    low, high = np.quantile(resampled, [0.025, 0.975])
    centred = whole - whole.mean(axis=0)
    slope = float((centred[:, 0] * centred[:, 1]).sum() / (centred[:, 0] ** 2).sum())
    return Correlation(r, float(low), float(high), slope, pairs, len(methods), len(gains))


def _gains(row: AnswerRow, task: str) -> tuple[float, float] | None:
    """Gain in retrieval and gain in answers of one task; None where either is unknown."""
    if row.retrieval is None:
        return None
    found = row.retrieval.task_gains.get(task), row.answers.task_gains.get(task)
    values = [one.difference for one in found if one is not None and one.difference is not None]
    return (values[0], values[1]) if len(values) == 2 else None


def _pearson(pairs: np.ndarray) -> float | None:
    """Pearson's correlation of the two columns; None where one of them does not vary."""
    centred = pairs - pairs.mean(axis=0)
    squares = (centred**2).sum(axis=0)
    if len(pairs) < 3 or squares.min() < 1e-18:
        return None
    return float((centred[:, 0] * centred[:, 1]).sum() / np.sqrt(squares.prod()))
