"""The Gram matrix over the whole range of floats, by chunks and by slices, against plain float64 products."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from mtbench.optim import gram as gram_module
from mtbench.optim.gram import gram_matrix


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(gram_module, "CHUNK", 7)


def expected(rows: Tensor) -> np.ndarray:
    """The inner products of rows near 1."""
    return (rows.double() @ rows.double().t()).numpy()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("exponent", [0, 50, -60, 110])
def test_equals_plain_products_at_any_scale_of_short_floats(dtype: torch.dtype, exponent: int) -> None:
    rows = torch.randn(3, 50).to(dtype)
    gram, scale = gram_matrix(rows * 2.0**exponent)
    assert 1 <= np.diag(gram).max() <= 4 and np.log2(scale) % 2 == 0
    np.testing.assert_allclose(gram * (scale / 4.0**exponent), expected(rows), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("exponent", [600, -600, 900, -900])
def test_squares_beyond_float64_are_scaled(exponent: int) -> None:
    rows = torch.randn(3, 50, dtype=torch.float64)
    gram, _ = gram_matrix(rows * 2.0**exponent)
    assert 1 <= np.diag(gram).max() <= 4
    products = expected(rows)
    np.testing.assert_allclose(gram / gram[0, 0], products / products[0, 0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zeros_and_what_is_not_finite_show_on_the_diagonal(dtype: torch.dtype) -> None:
    rows = torch.randn(4, 20).to(dtype)
    rows[1] = 0
    gram, _ = gram_matrix(rows)
    assert gram[1].tolist() == [0] * 4 and np.isfinite(gram).all()
    assert gram_matrix(torch.zeros(2, 20, dtype=dtype))[0].tolist() == [[0, 0], [0, 0]]
    rows[2, 3], rows[3, 4] = torch.nan, -torch.inf
    assert np.isfinite(np.diag(gram_matrix(rows)[0])).tolist() == [True, True, False, False]


@pytest.mark.parametrize("exponent", [0, -900])
def test_slices_of_the_columns_add_up(exponent: int) -> None:
    rows = torch.randn(3, 50, dtype=torch.float64) * 2.0**exponent
    whole, scale = gram_matrix(rows)
    largest = rows.abs().max()
    shift = 2.0 ** -np.floor(np.log2(float(largest)))  # asked for in the second pass, which only tiny rows need
    rest = [(0, rows.shape[1] - 20)]
    others = iter([gram_module._products(rows[:, 20:], rest), gram_module._products(rows[:, 20:], rest, shift)])
    found, found_scale = gram_matrix(rows[:, :20], lambda part: part + next(others), lambda own: largest)
    assert found_scale == scale
    np.testing.assert_allclose(found, whole, rtol=1e-12)
