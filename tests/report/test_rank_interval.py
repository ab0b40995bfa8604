"""The bootstrap interval of a mean rank."""

from __future__ import annotations

import random

import pytest

from mtbench.report.measures import bootstrap_interval


def test_it_holds_the_mean_and_both_kinds_of_spread() -> None:
    source = random.Random(0)
    tasks = [source.gauss(5, 2) for _ in range(12)]
    alike = [list(tasks) for _ in range(6)]
    found = bootstrap_interval(alike)
    assert found is not None and found == bootstrap_interval(alike)
    mean, se = sum(tasks) / 12, (sum((t - sum(tasks) / 12) ** 2 for t in tasks) / 12 / 12) ** 0.5
    assert found[0] < mean < found[1]
    assert found[1] - found[0] == pytest.approx(2 * 1.96 * se, rel=0.1)  # the tasks' alone: the seeds agree
    seeds_too = bootstrap_interval([[t + shift for t in tasks] for shift in (-3, -2, -1, 1, 2, 3)])
    assert seeds_too is not None and seeds_too[1] - seeds_too[0] > 1.3 * (found[1] - found[0])


def test_one_seed_has_none_and_equal_ranks_have_no_width() -> None:
    assert bootstrap_interval([]) is None and bootstrap_interval([[1.0, 2.0]]) is None
    assert bootstrap_interval([[2.0, 2.0], [2.0, 2.0]]) == (2.0, 2.0)
