"""The tests agree with scipy and statsmodels-like formulas where these exist, and keep quiet where nothing is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from mtbench.report.statistics import (
    Difference,
    correct,
    crossed_test,
    detectable_difference,
    estimate,
    holm,
    paired_t,
    pooled_sd,
    power,
    query_t_test,
    randomisation_test,
)

A = {0: 0.612, 1: 0.605, 2: 0.622, 3: 0.609}
B = {0: 0.600, 1: 0.601, 2: 0.605, 3: 0.602}


def test_interval_is_student_t() -> None:
    found = estimate(A)
    low, high = scipy.stats.t.interval(0.95, 3, np.mean(list(A.values())), scipy.stats.sem(list(A.values())))
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.n == 4


def test_one_seed_has_a_mean_but_no_interval() -> None:
    found = estimate({3: 0.5})
    assert (found.mean, found.low, found.high) == (0.5, None, None)
    assert "one seed" in (found.reason or "")
    assert estimate({}).mean is None
    assert estimate({0: 0.5, 1: math.nan}).mean is None


def test_paired_t_equals_scipy() -> None:
    found = paired_t(A, B)
    expected = scipy.stats.ttest_rel(list(A.values()), list(B.values()))
    span = expected.confidence_interval()
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx((span.low, span.high))
    assert found.n == 4


def test_only_common_seeds_are_paired() -> None:
    assert paired_t({**A, 9: 0.1}, {**B, 7: 0.9}) == paired_t(A, B)
    assert paired_t(A, {9: 0.5}).difference is None


@pytest.mark.parametrize(
    ("treated", "p", "reason"),
    [
        ({0: 0.6}, None, "one seed"),
        ({0: 0.600, 1: 0.601, 2: 0.605, 3: 0.602}, 1.0, "identical"),
        ({s: v + 0.25 for s, v in B.items()}, None, "noise unknown"),
        ({0: math.nan, 1: 0.6}, None, "not a number"),
    ],
)
def test_degenerate_differences_never_earn_a_star(treated: dict, p: float | None, reason: str) -> None:
    found = paired_t(treated, B)
    correct([found])
    assert found.p == p
    assert reason in (found.reason or "")
    assert not found.star


def test_holm_by_hand_and_with_untested_ones() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.04, None, 0.01]) == pytest.approx([0.04, None, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
    assert holm([None]) == [None]


def test_a_star_needs_the_corrected_p() -> None:
    family = [Difference(0.1, p=0.03), Difference(0.1, p=0.9)]
    correct(family)
    assert not family[0].star
    correct(family[:1])
    assert family[0].star


def test_power_and_detectable_difference_agree_with_simulation() -> None:
    difference = detectable_difference(0.01, 5)
    assert difference is not None
    assert power(difference, 0.01, 5) == pytest.approx(0.8, abs=1e-6)
    draws = np.random.default_rng(0).normal(difference, 0.01, (4000, 5))
    share = (scipy.stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05).mean()
    assert share == pytest.approx(0.8, abs=0.03)
    assert detectable_difference(0.01, 1) is None
    assert detectable_difference(0.0, 5) is None
    assert detectable_difference(None, 5) is None
    assert power(0.0, 0.01, 5) == pytest.approx(0.05, abs=1e-6)


def test_pooled_sd_weighs_by_degrees_of_freedom() -> None:
    assert pooled_sd([Difference(0, sd=0.01, n=2), Difference(0, sd=0.02, n=4)]) == pytest.approx(
        math.sqrt((1e-4 + 3 * 4e-4) / 4)
    )
    assert pooled_sd([Difference(0)]) is None


def scores(seed: int, seeds: int, gain: float = 0.0, run: float = 0.0, queries: int = 300) -> dict[str, np.ndarray]:
    """Two tasks; queries shared by seed 99, run effects and noise by ``seed``."""
    fixed, own = np.random.default_rng(99), np.random.default_rng(seed)
    move = own.normal(0, run, (seeds, 1))
    return {t: np.clip(fixed.random(queries) + gain + move + own.normal(0, 0.1, (seeds, queries)), 0, 1) for t in "ab"}


def test_randomisation_agrees_with_scipy_on_one_task() -> None:
    a, b = scores(1, 1, gain=0.012)["a"], scores(2, 1)["a"]
    found = randomisation_test({"a": a}, {"a": b}, resamples=4999)
    expected = scipy.stats.permutation_test(
        (a[0], b[0]), lambda x, y, axis: (x - y).mean(axis=axis), permutation_type="samples", n_resamples=4999, rng=1
    )
    assert found.p == pytest.approx(expected.pvalue, abs=0.03)
    assert found.n == 300
    assert found == randomisation_test({"a": a}, {"a": b}, resamples=4999)


def test_randomisation_of_identical_systems_is_certain_of_nothing() -> None:
    a = scores(1, 2)
    assert randomisation_test(a, a).p == 1.0
    assert randomisation_test(a, {"other": a["a"]}).reason == "no query in common"


def test_unjudged_queries_are_left_out_of_both() -> None:
    a, b = scores(1, 3), scores(2, 3)
    holes = {t: v.copy() for t, v in a.items()}
    for v in holes.values():
        v[0, :50] = np.nan
    cut_a, cut_b = ({t: v[:, 50:] for t, v in x.items()} for x in (a, b))
    assert crossed_test(holes, b) == crossed_test(cut_a, cut_b)
    assert randomisation_test(holes, b) == randomisation_test(cut_a, cut_b)


def test_crossed_test_is_the_seed_test_where_queries_carry_no_variance() -> None:
    seeds = np.array([0.010, 0.004, 0.013])[:, None]
    base = {"a": np.tile(np.linspace(0, 0.9, 40), (3, 1))}
    found = crossed_test({"a": base["a"] + seeds}, base)
    assert found.p == pytest.approx(scipy.stats.ttest_1samp(seeds[:, 0], 0).pvalue)


def test_crossed_test_doubts_what_rests_on_few_queries() -> None:
    """A gain of all seeds alike on a few queries only: seeds agree, queries don't."""
    random = np.random.default_rng(0)
    base = {"a": np.zeros((5, 30))}
    treated = base["a"] + random.normal(0, 0.01, (5, 30)) + random.normal(0, 0.002, (5, 1))
    treated[:, 0] += 1.0
    crossed, seeds = (
        crossed_test({"a": treated}, base),
        paired_t(dict(enumerate(treated.mean(axis=1))), dict.fromkeys(range(5), 0.0)),
    )
    assert seeds.p is not None and crossed.p is not None
    assert seeds.p < 0.001 < 0.05 < crossed.p


def test_crossed_test_of_one_seed_says_so() -> None:
    assert "one seed" in (crossed_test(scores(1, 1), scores(2, 1)).reason or "")
    same = scores(1, 3)
    assert crossed_test(same, same).p == 1.0


def test_query_level_test_cries_wolf_where_the_seed_test_does_not() -> None:
    """No true difference, noise of runs: what the benchmark measures at length, in short."""
    wolves = stars = 0
    for i in range(200):
        a, b = scores(2 * i + 1000, 4, run=0.01, queries=600), scores(2 * i + 1001, 4, run=0.01, queries=600)
        means = [dict(enumerate((x["a"] + x["b"]).mean(axis=1) / 2)) for x in (a, b)]
        stars += (paired_t(*means).p or 1) < 0.05
        wolves += (query_t_test(a, b).p or 1) < 0.05
    assert wolves > 60
    assert 2 <= stars <= 20
