"""Like is compared with like: other encoders, other settings, and the baselines that belong to them."""

from __future__ import annotations

from typing import Any

import pytest
from synthetic_records import TASKS, make_record
from test_leaderboard_build import board_of, notes, row

TINY = {"encoder": {"name": "tiny"}}
MINILM = {"encoder": {"name": "MiniLM", "sha256": "a" * 64}}


def config(name: str, **sections: Any) -> dict[str, Any]:
    return {"encoder": {"path": name, "pooling": "auto"}, "data": {"prompt": "task"}, "bm25": {"b": 0.4}, **sections}


def runs(encoder: dict[str, Any], gain: float, untrained: float, **sections: Any) -> list[dict[str, Any]]:
    """Naive and T-SAGE over three seeds, BM25 and the untrained row of one encoder."""
    spec = {**encoder, "config": config(encoder["encoder"]["name"], **sections)}
    rows = [make_record(n, s, gain=g, **spec) for n, g in (("naive", gain), ("tsage", gain + 0.01)) for s in range(3)]
    rows.append(make_record("bm25", 0, tasks=dict.fromkeys(TASKS, 0.5), **spec))
    return [*rows, make_record("untrained", 0, tasks=dict.fromkeys(TASKS, untrained), **spec)]


def test_an_untrained_row_is_compared_with_its_own_encoders_baseline() -> None:
    board = board_of([*runs(TINY, 0.0, 0.02), *runs(TINY, 0.1, 0.02, train={"lr": 9.0})[:3], *runs(MINILM, 0.2, 0.7)])
    tiny, other = row(board, "untrained encoder"), row(board, "untrained encoder [encoder MiniLM]")
    naive, theirs = row(board, "naive"), row(board, "naive [encoder MiniLM]")
    for mine, base in ((tiny, naive), (other, theirs)):
        assert mine.gain is not None and mine.average.mean is not None and base.average.mean is not None
        assert mine.gain.difference == pytest.approx(mine.average.mean - base.average.mean)
    names = [r.name for r in board.rows]
    assert len(names) == len(set(names)) and not any(" more" in name for name in names)


def test_an_untrained_row_without_a_run_of_its_encoder_has_no_gain() -> None:
    board = board_of([*runs(TINY, 0.0, 0.02), runs(MINILM, 0.2, 0.7)[-1]])
    assert row(board, "untrained encoder [encoder MiniLM]").gain is None


def test_bm25_depends_on_no_encoder() -> None:
    board = board_of([*runs(TINY, 0.0, 0.02), *runs(MINILM, 0.2, 0.7)])
    assert [r.name for r in board.rows if r.optimizer == "bm25"] == ["BM25"]


def test_bm25_of_other_settings_is_another_row() -> None:
    other = make_record("bm25", 0, tasks=dict.fromkeys(TASKS, 0.4), **TINY, config=config("tiny", bm25={"b": 0.9}))
    board = board_of([*runs(TINY, 0.0, 0.02), other])
    assert {r.name for r in board.rows if r.optimizer == "bm25"} == {"BM25", "BM25 [bm25.b=0.9]"}
    assert row(board, "BM25 [bm25.b=0.9]").gain is None


def test_two_encoders_of_one_name_are_told_apart() -> None:
    twin = {"encoder": {"name": "MiniLM", "sha256": "b" * 64}}
    board = board_of([*runs(TINY, 0.0, 0.02), *runs(TINY, 0.0, 0.02), *runs(MINILM, 0.2, 0.7), *runs(twin, 0.1, 0.6)])
    names = [r.name for r in board.rows]
    assert len(names) == len(set(names))
    assert sum("encoder MiniLM, encoder.sha256=" in name for name in names) == 6  # two methods and a baseline of each


def test_two_settings_that_begin_alike_are_told_apart() -> None:
    many = {f"a{i}": 1 for i in range(5)}
    records = runs(TINY, 0.0, 0.02, train={f"a{i}": 0 for i in range(6)})
    records += [
        make_record("naive", s, **TINY, config=config("tiny", train={**many, "a5": a})) for a in (1, 2) for s in (0,)
    ]
    names = [r.name for r in board_of(records).rows if r.optimizer == "naive" and r.variant]
    assert len(set(names)) == 2 and any("train.a5=2" in name for name in names)


def test_tables_of_several_environments_say_so() -> None:
    def made(threads: int, torch: str) -> dict[str, Any]:
        return {"environment": {"threads": threads, "libraries": {"torch": torch}, "device": "cpu"}}

    mixed = [make_record("naive", 0, extra=made(1, "2.13.0")), make_record("tsage", 0, extra=made(2, "2.9.0"))]
    assert "they differ in torch (2.13.0, 2.9.0); threads (1, 2)" in notes(board_of(mixed))
    alike = [make_record(n, 0, extra=made(1, "2.13.0")) for n in ("naive", "tsage")]
    assert "environments" not in notes(board_of(alike))
