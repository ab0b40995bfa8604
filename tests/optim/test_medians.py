"""Exact medians by counting, against sorting."""

from __future__ import annotations

import json
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
        found = exact_median(theta, gradient, nonzero=nonzero)
        expected = reference(values, nonzero) or reference(values, True)
        assert float(found.value) == expected
        assert bool(found.is_zero) == (reference(values, False) == 0)
        assert int(found.bad) == 0


def test_worked_example(specs: Path) -> None:
    checks = json.loads((specs / "optimizer_examples.json").read_text())["checks"]
    case = next(c for c in checks if c["id"] == "median_1")
    values = torch.tensor(case["inputs"]["x"], dtype=torch.float32)
    one = torch.ones_like(values)
    assert float(exact_median(one, values).value) == case["expected"]["median"]
    assert float(exact_median(one, values, nonzero=True).value) == case["expected"]["median_nonzero"]


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
