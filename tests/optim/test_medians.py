"""Exact medians by counting, against sorting."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mtbench.optim import medians
from mtbench.optim.medians import exact_median


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(medians, "CHUNK", 1000)


def reference(values: Tensor, nonzero: bool) -> float:
    kept = values[values > 0] if nonzero else values
    return float(kept.sort().values[(len(kept) - 1) // 2]) if len(kept) else 0.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1, 2, 3, 999, 1000, 4321])
@pytest.mark.parametrize("nonzero", [False, True])
def test_equals_sorting(dtype: torch.dtype, size: int, nonzero: bool) -> None:
    for zeros in (0.0, 0.3):
        theta = torch.randn(size, dtype=dtype)
        gradient = torch.randn(size, dtype=dtype) * torch.randn(size, dtype=dtype).exp() * (torch.rand(size) >= zeros)
        values = (theta * gradient).abs()
        found = exact_median(theta, gradient, over="nonzero" if nonzero else "all")
        expected = reference(values, nonzero) or reference(values, True)
        assert float(found.value) == expected
        assert bool(found.is_zero) == (reference(values, False) == 0)
        assert int(found.bad) == 0


def guarded(values: Tensor) -> float:
    """The guarded median from its definition, in fractions."""
    others = values[values > 0].sort().values.tolist()
    zeros, n, p = len(values) - len(others), len(values), len(others)
    if not others:
        return 0.0
    if 4 * zeros <= n:
        return reference(values, False)
    if 2 * zeros >= n:
        return reference(values, True)
    level = Fraction(1, 3) + (Fraction(zeros, n) - Fraction(1, 4)) * 4 * (Fraction(1, 2) - Fraction(1, 3))
    return float(others[min(max(int(level * p), (n - 1) // 2 - zeros), (p - 1) // 2)])


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 8, 101, 998])
def test_the_guard_is_its_definition_for_every_number_of_zeros(size: int) -> None:
    magnitudes = torch.rand(size, dtype=torch.float64) + 0.1
    for zeros in range(0, size + 1, max(1, size // 50)):
        gradient = magnitudes.clone()
        gradient[:zeros] = 0
        found = exact_median(torch.ones_like(gradient), gradient, over="guarded")
        assert float(found.value) == guarded(gradient)
        assert bool(found.guarded) == (4 * zeros > size)


@pytest.mark.parametrize("size", [1000, 1001, 100_003])
def test_the_guard_is_continuous_in_the_share_of_zeros_and_never_falls(size: int) -> None:
    """The level among the entries that are not 0: that of the plain median up to one quarter, from there on rising,
    by no step larger than one entry or so, to one half."""
    before = None
    for zeros in range(0, size, max(1, size // 1000)):
        rank = medians.median_rank(torch.tensor(zeros), size, "guarded")
        positive = size - zeros
        level = int(rank.place - zeros) / positive
        plain = ((size - 1) // 2 - zeros) / positive
        assert level == plain if 4 * zeros <= size else level >= 1 / 3 - 2 / positive
        if 2 * zeros >= size:
            assert level == ((positive - 1) // 2) / positive
        if before is not None:
            assert abs(level - before) <= 2 / positive + 0.002
            assert 4 * zeros <= size or level >= before - 2 / positive
        before = level


def test_worked_example(specs: Path) -> None:
    checks = json.loads((specs / "optimizer_examples.json").read_text())["checks"]
    case = next(c for c in checks if c["id"] == "median_1")
    values = torch.tensor(case["inputs"]["x"], dtype=torch.float32)
    one = torch.ones_like(values)
    assert float(exact_median(one, values).value) == case["expected"]["median"]
    assert float(exact_median(one, values, over="nonzero").value) == case["expected"]["median_nonzero"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ties_and_the_whole_range_of_floats(dtype: torch.dtype) -> None:
    tiny, huge = torch.finfo(dtype).tiny, torch.finfo(dtype).max
    for values in ([2.0] * 5, [tiny / 8, tiny, 1.0], [1.0, huge, huge], [1.0, 1.0 + torch.finfo(dtype).eps, 2.0]):
        gradient = torch.tensor(values, dtype=dtype)
        assert float(exact_median(torch.ones_like(gradient), gradient).value) == values[1]


def test_numbers_below_the_normal_ones_are_no_zeros_wherever_they_are_counted() -> None:
    gradient = torch.full((11,), 1e-42)
    gradient[:3] = 0
    torch.set_flush_denormal(True)  # as the pipeline does; what other threads made is still there
    try:
        assert medians._count_positive(gradient) == 8
        histogram, zeros, _ = medians._first_histogram(torch.ones(11), gradient)
    finally:
        torch.set_flush_denormal(False)
    assert int(histogram.sum()) == 11 and int(zeros) in (3, 11)  # products of this thread are flushed themselves


def test_zeros_and_what_is_not_finite_are_counted() -> None:
    ones = torch.ones(4)
    assert float(exact_median(ones, torch.zeros(4)).value) == 0.0
    assert exact_median(ones, torch.zeros(4)).divisor == torch.inf
    assert int(exact_median(ones, torch.tensor([torch.nan, -torch.inf, 1.0, 0.0])).bad) == 2
    assert int(exact_median(torch.tensor([0.0, 1e30, 1.0, 1.0]), torch.tensor([torch.inf, 1e30, 1.0, 1.0])).bad) == 2


def test_sixteen_bit_inputs_are_selected_in_float32() -> None:
    theta, gradient = torch.randn(501).bfloat16(), torch.randn(501).bfloat16()
    expected = (theta * gradient).abs().float().median()
    assert exact_median(theta, gradient).value == expected
