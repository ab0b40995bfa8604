"""Grids, lines, ranges and random draws."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtbench.errors import UsageError
from mtbench.execution.grid import grid_points, parse_axes, random_points
from mtbench.execution.matrix import RunMatrix


def test_the_product_has_every_combination_once() -> None:
    points = grid_points(parse_axes(["tau=0.5,1,2,4", "beta=0,0.9,0.999"]), lines=False)
    assert len(points) == 12
    assert {tuple(p.values()) for p in points} == {
        (t, b) for t in ("0.5", "1", "2", "4") for b in ("0", "0.9", "0.999")
    }


def test_lines_vary_one_key_at_a_time() -> None:
    points = grid_points(parse_axes(["tau=1,2", "beta=0,0.5"]), lines=True)
    assert points == [{"tau": "1"}, {"tau": "2"}, {"beta": "0"}, {"beta": "0.5"}]


def test_a_list_in_brackets_is_one_value() -> None:
    [axis] = parse_axes(["train.adam_betas=[0.9,0.99],[0.8,0.9]"])
    assert axis.values == ("[0.9,0.99]", "[0.8,0.9]")


def test_values_with_a_number_per_task_are_separated_by_semicolons() -> None:
    keys = RunMatrix(["static", "tsage"], "kilt").per_task_keys()
    assert {"weights", "static.weights"} <= keys and "tau" not in keys
    [axis, other] = parse_axes(["static.weights=nq:2,fever:0.5;nq:1; 1,2,3;@rare", "tau=1,2"], keys)
    assert axis.values == ("nq:2,fever:0.5", "nq:1", "1,2,3", "@rare")
    assert other.values == ("1", "2")
    [axis] = parse_axes(["weights=nq:2"], keys)
    assert axis.values == ("nq:2",)
    with pytest.raises(UsageError, match="names a value twice"):
        parse_axes(["weights=nq:2;nq:2"], keys)


@pytest.mark.parametrize(
    "item", ["tau", "tau=", "=1", "tau=1,1", "tau=2:1", "tau=0:1:log", "tau=1:2:cubic", "tau=a:b", "tau=,", "t=0:inf"]
)
def test_what_is_no_axis_is_named(item: str) -> None:
    with pytest.raises(UsageError, match="--grid"):
        parse_axes([item])


def test_a_key_may_stand_once() -> None:
    with pytest.raises(UsageError, match="'tau' twice"):
        parse_axes(["tau=1", "tau=2"])
    with pytest.raises(UsageError, match=r"'tsage\.tau' and 'tau', which sets it too"):
        parse_axes(["tau=1", "tsage.tau=2"])
    assert len(parse_axes(["tsage.tau=1", "cgd.tau=2"])) == 2
    assert len(parse_axes(["train.lr=1", "lr=2", "gradnorm.alpha=1"])) == 3


def test_a_range_needs_trials() -> None:
    with pytest.raises(UsageError, match="--trials"):
        grid_points(parse_axes(["tau=0.1:10"]), lines=False)


@settings(derandomize=True, deadline=None)
@given(st.integers(1, 30), st.integers(0, 30))
def test_more_trials_later_repeat_the_first_ones(first: int, more: int) -> None:
    axes = parse_axes(["tau=0.1:10:log", "beta=0,0.5,0.9"])
    points = random_points(axes, first + more)
    assert points[:first] == random_points(axes, first)
    assert len({tuple(p.values()) for p in points}) == len(points) == first + more
    assert all(0.1 <= float(p["tau"]) <= 10 for p in points)


def test_an_exhausted_space_ends_the_draw() -> None:
    assert len(random_points(parse_axes(["tau=1,2", "beta=0,0.5"]), 50)) == 4
