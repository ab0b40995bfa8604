"""Whole runs whose steps are not one batch of every task for AdamW."""

from __future__ import annotations

from typing import Any

import pytest
from pipeline.conftest import Bench

CASES: dict[str, tuple[str, list[str]]] = {
    "one task a step": ("static", ["train.tasks_per_step=1", "train.task_order=shuffled"]),
    "three draws": ("sdmgrad", ["train.base=muon"]),
    "other points": ("fmtl", ["train.base=sgd", "train.lr=0.1"]),
    "batches of its own": ("annealed", []),
}


def last_episode(record: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = record["training"]["episodes"][-1]["summary"]
    return found


@pytest.mark.parametrize("case", CASES)
def test_a_run_comes_to_a_complete_record_and_says_what_it_read(case: str, bench: Bench) -> None:
    name, words = CASES[case]
    (plain,) = bench.run("naive")
    (record,) = bench.run(name, *words)
    assert record["status"] == "complete" and record["average"] is not None, record.get("error")
    usual, found = last_episode(plain), last_episode(record)
    sizes, steps = found["task_batch_sizes"], usual["steps"]
    assert usual["queries"] == {task: size * steps for task, size in sizes.items()}
    times = {"three draws": 3}.get(case, 1)
    if case == "batches of its own":
        assert sum(found["queries"].values()) == sum(usual["queries"].values())
    else:
        assert found["queries"] == {task: times * size * steps for task, size in sizes.items()}
    assert found["steps"] == (steps * len(sizes) if case == "one task a step" else steps)


def test_a_method_with_nothing_to_weigh_is_named_so(bench: Bench) -> None:
    (record,) = bench.run("pcgrad", "train.tasks_per_step=1")
    assert "one-task-a-step" in {w["code"] for w in record["warnings"]}
    assert last_episode(record)["step_difference"] < 1e-6
