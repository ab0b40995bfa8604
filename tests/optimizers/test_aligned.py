"""Aligned-MTL: the aligned system, a peer, its modes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gram_cases import FAMILIES, close, family, peer, start, update, weights

from optimizers.aligned import Aligned


@pytest.mark.parametrize("mode", ["min", "median", "rmse"])
@pytest.mark.parametrize("kind", FAMILIES)
def test_agrees_with_torchjd(kind: str, mode: str) -> None:
    gradients = family(kind, 0)
    close(update(Aligned, gradients, mode=mode), peer().AlignedMTL(scale_mode=mode)(gradients), 1e-7)


def test_the_update_is_the_mean_of_a_perfectly_conditioned_system() -> None:
    """The nearest matrix with equal singular values, from the SVD of the gradients themselves."""
    gradients = family("random", 1)
    left, sizes, right = torch.linalg.svd(gradients, full_matrices=False)
    close(update(Aligned, gradients), sizes.min() * (left @ right).mean(0), 1e-10)


def test_modes_differ_in_length_only() -> None:
    gradients = family("random", 1)
    shortest, middle, mean = (update(Aligned, gradients, mode=m) for m in ("min", "median", "rmse"))
    assert shortest.norm() < middle.norm() < mean.norm() * 1.5
    for other in (middle, mean):
        assert torch.cosine_similarity(shortest, other, dim=0) == pytest.approx(1.0)


def test_dependent_gradients_are_left_out_of_the_smallest_eigenvalue() -> None:
    gradients = family("random", 0)[:2].repeat(2, 1)
    assert update(Aligned, gradients).norm() > 0.1


def test_no_gradients_at_all_is_uniform() -> None:
    opt = start(Aligned, 4, 30)
    opt.combine(torch.zeros(4, 30, dtype=torch.float64), torch.ones(4))
    np.testing.assert_allclose(weights(opt), 0.25)
