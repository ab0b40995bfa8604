"""Comparisons: both kinds of evidence, the queries that moved, and published figures."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from synthetic_records import TASKS, family, make_record, write_all

from mtbench.errors import UsageError
from mtbench.evaluation.scores import TaskScores, write_scores
from mtbench.report.board import Board
from mtbench.report.compare import check_published, compare, find_other, find_row
from mtbench.report.comparison_text import comparison_dict, print_comparison
from mtbench.report.leaderboard import load_board
from mtbench.report.published import Reported
from mtbench.report.rows import Row
from mtbench.storage.store import Store

QUERIES = 60


def with_scores(record: dict[str, Any], store: Store, shift: float, seed: int, reverse: bool = False) -> dict[str, Any]:
    """``record`` with per-query scores in the store; query ``q7`` of nq is 1 for the shifted system, 0 else."""
    random, own = np.random.default_rng(5), np.random.default_rng([seed, 1000 + round(1000 * shift)])
    tasks = {}
    for task in TASKS:
        ids = [f"q{i}" for i in range(QUERIES)]
        values = random.random(QUERIES) * 0.9 + shift + own.normal(0, 0.02, QUERIES)
        if task == "nq":
            values[7] = float(shift > 0)
        order = slice(None, None, -1 if reverse else 1)
        tasks[task] = TaskScores(ids[order], {"rprecision_page": values[order]})
    key = f"{record['run_id']}"
    path = store.folder("evaluate", key) / "scores.parquet"
    path.parent.mkdir(parents=True)
    write_scores(path, tasks)
    record["per_query"] = {
        "stage": "evaluate",
        "fingerprint": key,
        "file": "scores.parquet",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    return record


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def board(tmp_path: Path, store: Store) -> Board:
    records = family(3, cgd=-0.01)
    bm25 = next(r for r in records if r["spec"]["optimizer"]["name"] == "bm25")
    with_scores(bm25, store, -0.1, 9)
    for seed in range(3):
        records.append(with_scores(make_record("tsage", seed, gain=0.013), store, 0.03, seed, reverse=True))
        records.append(make_record("tsage", seed, params={"tau": 4.0}))
        naive = next(r for r in records if r["spec"]["optimizer"]["name"] == "naive" and r["spec"]["seed"] == seed)
        with_scores(naive, store, 0.0, seed)
    return load_board(write_all(tmp_path / "results", records), "toy", "mini", summary=False)


def test_rows_are_found_by_what_users_write(board: Board) -> None:
    assert find_row(board, "tsage").name == "tsage"
    assert find_row(board, "tsage:tau=4").name == "tsage (tau=4)"
    assert find_row(board, "tsage: beta=0.999, tau=4.0").name == "tsage (tau=4)"  # one of the two is the default
    assert find_row(board, "tsage:tau=2").name == "tsage"
    assert find_row(board, "tsage (tau=4)").name == "tsage (tau=4)"
    assert find_row(board, "bm25").label == find_row(board, "BM25").label == "BM25"
    other = Row("tsage", "tsage", "optimizer", variant="train.lr=1")
    board.rows.insert(0, other)
    assert find_row(board, "tsage").name == "tsage"
    assert find_row(board, "tsage [train.lr=1]") is other
    run = find_row(board, "cgd").runs[1]["run_id"]
    assert find_row(board, run).name == "cgd"
    for unknown in ("tsag", "tsage:tau=5"):
        with pytest.raises(UsageError, match=r"tsage \(tau=4\)"):
            find_row(board, unknown)


def test_rows_with_numbers_per_task_are_found_and_named_whole(tmp_path: Path) -> None:
    numbers = "eli5:0.25,fever:0.5,hotpotqa:3,nq:2"
    params = [{"weights": ""}, {"weights": numbers}, {"weights": numbers.replace("nq:2", "nq:4")}]
    records = [*family(3), *(make_record("static", seed, params=own) for own in params for seed in range(3))]
    board = load_board(write_all(tmp_path / "results", records), "toy", "mini", summary=False)
    assert find_row(board, "static").name == "static"
    for written in (numbers, "nq:2,eli5:.25,hotpotqa:3.0,fever:5e-1"):
        assert find_row(board, f"static:weights={written}").name == f"static (weights={numbers})"
    assert find_row(board, f"static:weights={numbers},scale=mean").name == f"static (weights={numbers})"
    assert find_row(board, f"static:scale=mean,weights={numbers}").name == f"static (weights={numbers})"
    with pytest.raises(UsageError, match=r"static \(weights=eli5"):
        find_row(board, "static:weights=nq:3")


def test_both_kinds_of_evidence_and_what_moved(board: Board, store: Store) -> None:
    found = compare(board, find_row(board, "tsage"), find_row(board, "naive"), store)
    average = found.average
    assert average.seeds.difference == pytest.approx(0.013, abs=0.003) and average.seeds.n == 3
    assert average.queries is not None and average.crossed is not None
    assert average.queries.difference == pytest.approx(0.034, abs=0.01) and average.queries.n == 4 * QUERIES
    assert average.queries.p == pytest.approx(1e-4)
    assert average.crossed.p_holm is None and average.queries.p_holm is None
    assert (average.wins or 0) + (average.losses or 0) + (average.ties or 0) == 4 * QUERIES
    assert (average.wins or 0) > 150
    assert (found.moved[0].task, found.moved[0].query) == ("nq", "q7")
    assert (found.moved[0].first, found.moved[0].second) == (1.0, 0.0)


def test_order_of_queries_and_of_the_two_does_not_matter(board: Board, store: Store) -> None:
    one = compare(board, find_row(board, "tsage"), find_row(board, "naive"), store)
    two = compare(board, find_row(board, "naive"), find_row(board, "tsage"), store)
    assert one.average.seeds.difference == pytest.approx(-(two.average.seeds.difference or 0))
    assert one.average.seeds.p == pytest.approx(two.average.seeds.p)
    assert (one.average.wins, one.average.losses) == (two.average.losses, two.average.wins)


def test_a_system_with_one_run_is_compared_with_every_seed(board: Board, store: Store) -> None:
    found = compare(board, find_row(board, "bm25"), find_row(board, "tsage"), store)
    assert found.average.seeds.n == 3 and found.average.queries is not None
    assert found.average.queries.difference == pytest.approx(-0.13, abs=0.02)


def test_without_scores_the_rest_stands_and_it_says_so(board: Board, tmp_path: Path) -> None:
    found = compare(board, find_row(board, "tsage"), find_row(board, "naive"), Store(tmp_path / "elsewhere"))
    assert found.average.seeds.p is not None and found.average.queries is None and found.moved == []
    assert any("not in the store" in n for n in found.notes)
    found = compare(board, find_row(board, "cgd"), find_row(board, "naive"), Store(tmp_path / "store"))
    assert any("refers to no per-query scores" in n for n in found.notes)


def test_scores_that_are_not_the_records_are_refused(board: Board, store: Store) -> None:
    run = find_row(board, "tsage").runs[0]
    path = store.folder("evaluate", run["per_query"]["fingerprint"]) / "scores.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    found = compare(board, find_row(board, "tsage"), find_row(board, "naive"), store)
    assert found.average.queries is None and any("sha256" in n for n in found.notes)


def test_a_row_that_never_finished_cannot_be_compared(tmp_path: Path) -> None:
    records = [*family(2), make_record("uw", 0, status="failed", tasks={})]
    board = load_board(write_all(tmp_path, records), "toy", "mini")
    with pytest.raises(UsageError, match="no finished run"):
        compare(board, find_row(board, "uw"), find_row(board, "naive"), Store(tmp_path))


@pytest.mark.parametrize("width", [80, 200])
def test_the_text_names_tests_and_n(board: Board, store: Store, width: int) -> None:
    found = compare(board, find_row(board, "tsage"), find_row(board, "naive"), store)
    console = Console(record=True, width=width, file=io.StringIO())
    print_comparison(found, console)
    text = console.export_text()
    assert "n = 3 seeds" in text and "<.001" in text and "nq q7: 100.0 and 0.0" in text
    assert "…" not in text.split("Queries that moved")[0]
    plain = json.loads(json.dumps(comparison_dict(found), allow_nan=False))
    assert plain["average"]["seeds"]["star"] is True
    assert "runs" not in plain["first"]


def kilt_board(tmp_path: Path) -> Board:
    tasks = ("fever", "el", "trex", "zsre", "nq", "hotpotqa", "triviaqa", "wow")
    values = (0.8617, 0.8464, 0.7812, 0.9791, 0.6186, 0.5061, 0.6962, 0.6097)
    near = dict(zip(tasks, values, strict=True))
    near |= {"nq": near["nq"] + 0.0149, "wow": near["wow"] - 0.05}
    record = make_record("tsage", 0, suite="kilt", tasks=near, extra={"average": sum(near.values()) / 8})
    return load_board(write_all(tmp_path, [record]), "kilt", "mini")


def test_published_figures_are_ok_near_or_off(tmp_path: Path) -> None:
    board = kilt_board(tmp_path)
    row = find_row(board, "tsage")
    system = find_other(board, "published", row)
    assert isinstance(system, Reported) and system.system == "TACO"
    verdicts = {c.task: c.verdict for c in check_published(board, row, system, 0.01)}
    assert verdicts.pop("nq") == "near" and verdicts.pop("wow") == "off"
    assert set(verdicts.values()) == {"OK"}
    tabi = find_other(board, "tabi", row)
    assert isinstance(tabi, Reported)
    assert {c.task for c in check_published(board, row, tabi, 0.01) if c.verdict == "missing"} == {"el", "average"}


def test_an_optimizer_without_counterpart_lists_the_systems(tmp_path: Path) -> None:
    board = kilt_board(tmp_path)
    row = find_row(board, "tsage")
    row.optimizer = "dwa"
    with pytest.raises(UsageError, match="CorpusBrain"):
        find_other(board, "published", row)
