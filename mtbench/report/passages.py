"""What stands behind a query's score: its text, and the passages that each of two runs put on top."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from mtbench.errors import MtbenchError
from mtbench.records.record import RunRecord
from mtbench.storage.store import Store

if TYPE_CHECKING:
    from mtbench.data.prepared import PreparedSuite
    from mtbench.report.compare import Comparison


def describe_moved(comparison: Comparison, store: Store, passages: int = 3) -> None:
    """Fill text and top passages of ``comparison.moved`` (of the lowest common seed), where the store has them."""
    if not comparison.moved:
        return
    runs = []
    for row in (comparison.first, comparison.second):
        common = [s for s in comparison.first.seeds_done if s in comparison.second.seeds_done]
        runs.append(row.runs[(common or row.seeds_done)[0]])
    suite = _open_prepared(runs, store)
    if suite is None:
        comparison.notes.append("Texts of the queries are not in the store: ids only.")
        return
    for moved in comparison.moved:
        queries = suite.tasks[moved.task].dev
        index = queries.ids.index(moved.query)
        moved.text = queries.text(index)
        moved.first_passages = _top(suite, runs[0], store, moved.task, index, passages)
        moved.second_passages = _top(suite, runs[1], store, moved.task, index, passages)


def _open_prepared(runs: list[RunRecord], store: Store) -> PreparedSuite | None:
    from mtbench.data.prepared import PreparedSuite

    for run in runs:
        for stage in run["stages"]:
            folder = store.folder("prepare", stage["fingerprint"])
            if stage["name"] != "prepare" or not folder.is_dir():
                continue
            for place in (folder, *sorted(p for p in folder.iterdir() if p.is_dir())):
                if (place / "prepared.json").is_file():
                    try:
                        return PreparedSuite.open(place)
                    except (
                        MtbenchError,
                        json.JSONDecodeError,
                    ):  # a damaged stage: the comparison stands without
                        return None
    return None


def _top(suite: PreparedSuite, run: RunRecord, store: Store, task: str, index: int, count: int) -> list[str]:
    from mtbench.retrieval.ranking import Ranking

    if "per_query" not in run:
        return []
    reference = run["per_query"]
    folder = store.folder(reference["stage"], reference["fingerprint"]) / "rankings" / task
    if not (folder / "indices.npy").is_file():
        return []
    corpus = suite.corpora[suite.tasks[task].dev_corpus]
    rows = [int(i) for i in Ranking.load(folder).indices[index][:count] if i >= 0]
    return [f"{corpus.title(i)}: {corpus.text(i)}" if corpus.title(i) else corpus.text(i) for i in rows]
