"""The sentence that a board says: from its tests, with the power where nothing was shown."""

from __future__ import annotations

from mtbench.report.conclusion import conclusion
from mtbench.report.rows import Row
from mtbench.report.statistics import Difference


def row(label: str, difference: float, p: float | None, variant: str = "", kind: str = "optimizer") -> Row:
    gain = Difference(difference, p=p, p_holm=p, n=5)
    return Row(label, label, kind, gain=gain, variant=variant)


def test_what_was_shown_is_named_and_what_was_not_is_counted() -> None:
    rows = [row("uw", 0.02, 0.01), row("dwa", 0.01, 0.04), row("mgda", -0.03, 0.001), row("rlw", 0.004, 0.3)]
    assert conclusion([*rows, Row("naive", "naive", "optimizer")], "naive", {5: 0.012}) == [
        "In short: uw and dwa are above naive, mgda is below naive, by more than chance explains; of one other no "
        "difference from naive was shown; with 5 seeds only a true gain of about 1.2 points or more would usually have "
        "been seen."
    ]
    assert conclusion(rows[2:3], "naive", {5: 0.012}) == [
        "In short: mgda is below naive, by more than chance explains."
    ]


def test_where_nothing_was_shown_it_says_so_with_the_power() -> None:
    rows = [row("uw", 0.02, 0.2), row("dwa", -0.01, 0.9)]
    [told] = conclusion(rows, "naive", {5: 0.012})
    assert told.startswith("In short: this table does not show that any of the 2 methods differs from naive; with 5")
    assert conclusion(rows[:1], "naive", {}) == [
        "In short: this table does not show that the method differs from naive."
    ]


def test_it_speaks_of_no_test_that_there_is_not() -> None:
    others = [row("uw", 0.1, None), row("bm25", 0.1, 0.001, kind="baseline"), row("uw", 0.1, 0.001, variant="lr")]
    assert conclusion(others, "naive", {5: 0.01}) == []


def test_many_methods_are_counted() -> None:
    [told] = conclusion([row(f"m{i}", 0.02, 0.01) for i in range(7)], "naive", {})
    assert "m0, m1, m2, m3, m4 and 2 more are above naive" in told
