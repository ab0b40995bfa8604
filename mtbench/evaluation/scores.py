"""Per-query scores of several tasks in one Parquet file: columns ``task``, ``query_id`` and one per metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike

import numpy as np

from mtbench.evaluation.metrics import MetricArrays, summarise
from mtbench.records.record import TaskResult

SCORES_FILE = "scores.parquet"
"""The name of the file in the folders of stages that score something."""


@dataclass(frozen=True)
class TaskScores:
    """The queries of a task and their scores: metric name -> float64 ``(Q,)``, NaN where undefined."""

    ids: Sequence[str]
    per_query: MetricArrays

    @property
    def means(self) -> dict[str, float]:
        """Mean of each metric over the queries for which it is defined."""
        return summarise(self.per_query)

    @property
    def counted(self) -> dict[str, int]:
        """Over how many queries a metric is the mean, where it is not all: trec_eval's ``num_q`` leaves out queries
        without judgements, though it counts those that were judged and have nothing relevant."""
        defined = {name: int((~np.isnan(values)).sum()) for name, values in self.per_query.items()}
        return {name: count for name, count in defined.items() if count != len(self.ids)}


def task_result(scores: TaskScores) -> TaskResult:
    """What a record has of a task's scores, but its title."""
    found: TaskResult = {"metrics": scores.means, "num_queries": len(scores.ids)}
    return {**found, "counted": scores.counted} if scores.counted else found


def write_scores(path: str | PathLike[str], tasks: Mapping[str, TaskScores]) -> None:
    """Write the scores of ``tasks``; a metric that a task does not have is null in its rows, NaN stays NaN."""
    import pyarrow
    import pyarrow.parquet

    metrics = list(dict.fromkeys(name for scores in tasks.values() for name in scores.per_query))
    schema = pyarrow.schema(
        [
            ("task", pyarrow.string()),
            ("query_id", pyarrow.string()),
            *((name, pyarrow.float64()) for name in metrics),
        ]
    )
    parts = []
    for task, scores in tasks.items():
        columns: list[object] = [[task] * len(scores.ids), list(scores.ids)]
        columns += [scores.per_query.get(name, [None] * len(scores.ids)) for name in metrics]
        arrays = [pyarrow.array(c, type=field.type) for c, field in zip(columns, schema, strict=True)]
        parts.append(pyarrow.Table.from_arrays(arrays, schema=schema))
    pyarrow.parquet.write_table(pyarrow.concat_tables(parts) if parts else schema.empty_table(), path)


def read_scores(path: str | PathLike[str]) -> dict[str, TaskScores]:
    """The tasks that :func:`write_scores` wrote, in their order, without the metrics that a task does not have."""
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(path)
    tasks = np.array(table.column("task").to_pylist(), dtype=object)
    ids = table.column("query_id").to_pylist()
    result: dict[str, TaskScores] = {}
    for task in dict.fromkeys(tasks):
        rows = np.flatnonzero(tasks == task)
        part = table.take(rows)
        per_query = {
            name: part.column(name).to_numpy().astype(np.float64)
            for name in table.column_names[2:]
            if part.column(name).null_count < len(rows)
        }
        result[str(task)] = TaskScores([ids[row] for row in rows], per_query)
    return result
