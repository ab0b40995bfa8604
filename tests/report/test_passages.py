"""Texts behind the numbers: read from the store of the runs, and absent without complaint where it is gone."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from synthetic_records import family, make_record, write_all

from mtbench.report.compare import Comparison, Moved, compare, find_row
from mtbench.report.leaderboard import load_board
from mtbench.report.passages import describe_moved
from mtbench.retrieval.ranking import Ranking
from mtbench.storage.store import Store


class FakeCorpus:
    def title(self, i: int) -> str:
        return f"Title {i}" if i else ""

    def text(self, i: int) -> str:
        return f"text {i}"


def comparison(tmp_path: Path, store: Store) -> Comparison:
    records: list[dict[str, Any]] = [*family(2), *(make_record("tsage", s) for s in range(2))]
    for record in records:
        record["stages"] = [{"name": "prepare", "fingerprint": "p1"}]
        record["per_query"] = {"stage": "evaluate", "fingerprint": record["run_id"], "file": "s.parquet", "sha256": ""}
    board = load_board(write_all(tmp_path / "r", records), "toy", "mini", summary=False)
    found = compare(board, find_row(board, "tsage"), find_row(board, "naive"), store)
    found.moved = [Moved("nq", "b", 1.0, 0.0)]
    return found


def test_text_and_top_passages_of_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "store")
    found = comparison(tmp_path, store)
    data = store.folder("prepare", "p1") / "data"
    data.mkdir(parents=True)
    (data / "prepared.json").write_text("{}")
    dev = SimpleNamespace(ids=["a", "b"], text=lambda i: f"query {i}")
    suite = SimpleNamespace(corpora={"c": FakeCorpus()}, tasks={"nq": SimpleNamespace(dev=dev, dev_corpus="c")})
    monkeypatch.setattr("mtbench.data.prepared.PreparedSuite.open", lambda folder: suite if folder == data else None)
    run = found.first.runs[0]["run_id"]
    indices = np.array([[9, 9, 9, 9], [2, 0, 1, -1]], dtype=np.int32)
    Ranking(indices, np.zeros((2, 4), dtype=np.float32)).save(store.folder("evaluate", run) / "rankings" / "nq")
    describe_moved(found, store, passages=4)
    assert found.moved[0].text == "query 1"
    assert found.moved[0].first_passages == ["Title 2: text 2", "text 0", "Title 1: text 1"]
    assert found.moved[0].second_passages == []


def test_without_the_prepared_data_there_are_ids_only(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    found = comparison(tmp_path, store)
    describe_moved(found, store)
    assert found.moved[0].text == "" and any("ids only" in n for n in found.notes)


def test_a_damaged_preparation_does_not_stop_the_comparison(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    found = comparison(tmp_path, store)
    folder = store.folder("prepare", "p1")
    folder.mkdir(parents=True)
    (folder / "prepared.json").write_text("{half")
    describe_moved(found, store)
    assert any("ids only" in n for n in found.notes)
