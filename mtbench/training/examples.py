"""From query rows to batches: positives, hard negatives, and the mask of false negatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mtbench.config import NegativesConfig, TrainConfig
from mtbench.data.negatives import Negatives, NoNegativeError, NotNegative, sample_negatives
from mtbench.data.prepared import PreparedCorpus, PreparedQueries, PreparedTask
from mtbench.errors import DataError
from mtbench.training.batches import BatchOrder, Span
from mtbench.training.streams import stream, stream_seed


@dataclass
class TaskExamples:
    """One task's side of training: its queries, corpus and mined negatives."""

    task: PreparedTask
    corpus: PreparedCorpus
    negatives: Negatives | None
    not_negative: NotNegative | None = None
    """Rows that are no negatives of a query; None: those of its relevant passages."""
    place: int = field(kw_only=True)
    """The task's place in the suite, which names its tower, whatever else is trained on."""

    @property
    def queries(self) -> PreparedQueries:
        """The training queries."""
        return self.task.train

    def barred(self, query: int) -> np.ndarray:
        """Rows of the corpus that are no negatives of a query."""
        return self.queries.positives(query)[0] if self.not_negative is None else self.not_negative(query)


@dataclass(frozen=True)
class TrainingData:
    """What a stage trains on: each task's examples, the order of their batches, and the token id that pads."""

    examples: Sequence[TaskExamples]
    order: BatchOrder
    padding: int


@dataclass
class TaskBatch:
    """One task's batch: B queries; passages ``[pos_0, neg_0.., pos_1, ..]``, ``B * (1 + n)`` rows of the corpus.

    ``excluded`` (B, B * (1 + n)): passages that are no negatives of a query and are not its target: judged relevant,
    copies of these, or the query itself.
    """

    query_rows: np.ndarray
    passage_rows: np.ndarray
    targets: np.ndarray
    excluded: np.ndarray
    drawn: int
    """Negatives that had to be drawn from the corpus because too few were mined."""


def usable_rows(queries: PreparedQueries, selection: np.ndarray) -> np.ndarray:
    """Rows of the training queries that have a positive passage and are not in the slice for choosing settings."""
    judged = np.asarray([len(queries.positives(i)[0]) > 0 for i in range(len(queries))], dtype=bool)
    judged[selection] = False
    rows = np.flatnonzero(judged)
    if not len(rows):
        raise DataError("no training query has a positive passage; check train_qrels")
    return rows


def first_examples(rows: np.ndarray, name: str, seed: int, count: int | None) -> np.ndarray:
    """The first ``count`` of ``rows`` in one permutation that depends on seed and task alone, so that 128 lie inside
    1,024; all for None. In ascending order."""
    if count is None or count >= len(rows):
        return rows
    return np.sort(stream("examples", seed, name).permutation(rows)[:count])


def selection_rows(queries: PreparedQueries, name: str, count: int) -> np.ndarray:
    """The slice of the training queries that settings are chosen on: ``count`` of them, at most a tenth; the same
    for every seed and method, never trained on."""
    judged = np.flatnonzero([len(queries.positives(i)[0]) > 0 for i in range(len(queries))])
    count = min(count, len(judged) // 10)
    return np.sort(stream("selection", name).permutation(judged)[:count])


def _nothing_left(examples: TaskExamples, error: NoNegativeError, negatives: NegativesConfig) -> DataError:
    """The error for whoever has to mend the data, with the query's name and what is not yet so."""
    by_page = negatives.exclude == "page"
    ruled_out = "relevant or lie on its pages" if by_page else "relevant to it"
    other = "use negatives.exclude=passage" if by_page else "train without hard negatives (train.hard_negatives=0)"
    return DataError(
        f"training query {examples.queries.ids[error.query]!r} of task {examples.task.name!r} has no possible "
        f"negative: all {error.passages} passages of its corpus are {ruled_out}",
        remedy=f"Give the corpus more passages, or {other}.",
    )


def build_batch(
    examples: TaskExamples,
    order: BatchOrder,
    k: int,
    span: Span,
    train: TrainConfig,
    negatives: NegativesConfig,
) -> TaskBatch:
    """The batch of task k that ``span`` names; a pure function of (seed, episode, task, span)."""
    return fill_batch(examples, order, k, order.batch(span, k), span, train, negatives)


def fill_batch(
    examples: TaskExamples,
    order: BatchOrder,
    k: int,
    drawn_queries: tuple[np.ndarray, int],
    span: Span,
    train: TrainConfig,
    negatives: NegativesConfig,
) -> TaskBatch:
    """The batch of these query rows of task k (none: an empty one), read in the given round through the queries."""
    query_rows, cycle = drawn_queries
    if not len(query_rows):
        none = np.empty(0, dtype=np.int64)
        return TaskBatch(none, none, none, np.empty((0, 0), dtype=bool), 0)
    positives = [examples.queries.positives(int(q))[0] for q in query_rows]
    if train.positive == "first":
        chosen = np.asarray([p[0] for p in positives])
    else:
        draws = stream("positive", order.seed, order.episode, order.names[k], span.step, *draw_key(span.draw))
        chosen = np.asarray([p[draws.integers(len(p))] if len(p) > 1 else p[0] for p in positives])
    columns, drawn = [chosen[:, None]], 0
    if train.hard_negatives and examples.negatives is not None:
        try:
            hard, drawn = sample_negatives(
                examples.negatives,
                query_rows,
                train.hard_negatives,
                mode=negatives.sampling,
                seed=stream_seed("negatives", order.seed, order.names[k]),
                episode=order.episode,
                epoch=cycle,
            )
        except NoNegativeError as error:
            raise _nothing_left(examples, error, negatives) from None
        columns.append(hard)
    table = np.concatenate(columns, axis=1)
    passages = table.reshape(-1)
    targets = np.arange(len(query_rows)) * table.shape[1]
    excluded = np.stack([np.isin(passages, examples.barred(int(q))) for q in query_rows])
    excluded[np.arange(len(query_rows)), targets] = False
    return TaskBatch(query_rows, passages, targets, excluded, drawn)


def draw_key(draw: int) -> tuple[object, ...]:
    """What names the random streams of a further draw; the first one's have the step alone."""
    return ("draw", draw) if draw else ()
