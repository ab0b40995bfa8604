"""The papers' figures: read as fractions, named as the suite names its tasks, one row a system."""

from __future__ import annotations

import pytest

from mtbench.report.published import COUNTERPARTS, TABLES, reported_systems

KILT = ["fever", "el", "trex", "zsre", "nq", "hotpotqa", "triviaqa", "wow"]


def test_kilt_rows_of_the_dev_set() -> None:
    systems = {s.system: s for s in reported_systems("kilt", "rprecision_page", KILT)}
    assert systems["TACO"].average == pytest.approx(0.7374)
    assert systems["TACO"].tasks["el"] == pytest.approx(0.8464)
    assert systems["CGD"].average == pytest.approx(0.6951)
    assert "SEAL" not in systems, "SEAL is reported on the test set only"
    averages = [s.average for s in systems.values() if s.average is not None]
    assert averages == sorted(averages, reverse=True)


def test_mixed_rows() -> None:
    systems = {s.system: s for s in reported_systems("mixed", "recall@100", ["msmarco", "zeshel", "fever", "nq"])}
    assert systems["CGD"].tasks == pytest.approx({"msmarco": 0.868, "zeshel": 0.691, "fever": 0.944, "nq": 0.762})


def test_an_average_is_that_of_its_tasks_where_all_are_reported() -> None:
    for (suite, metric), _ in TABLES.items():
        tasks = KILT if suite == "kilt" else ["msmarco", "zeshel", "fever", "nq"]
        for system in reported_systems(suite, metric, tasks):
            if system.average is not None and len(system.tasks) == len(tasks):
                assert sum(system.tasks.values()) / len(tasks) == pytest.approx(system.average, abs=6e-4), system


def test_each_counterpart_exists() -> None:
    names = {s.system for s in reported_systems("kilt", "rprecision_page", KILT)}
    assert set(COUNTERPARTS.values()) <= names


def test_nothing_is_claimed_for_other_suites_or_metrics() -> None:
    assert reported_systems("wiki8", "rprecision_page", KILT) == []
    assert reported_systems("kilt", "mrr@10", KILT) == []
