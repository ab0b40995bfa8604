"""How narrow the cone of a corpus's vectors is."""

from __future__ import annotations

import numpy as np
import pytest

from mtbench.retrieval.vectors import mean_angle


def fan(degrees: float, length: float = 1.0) -> list[np.ndarray]:
    """Two vectors of that angle, as one shard."""
    angle = np.radians(degrees)
    return [length * np.array([[1.0, 0.0], [np.cos(angle), np.sin(angle)]])]


@pytest.mark.parametrize("degrees", [1e-6, 0.9, 1.1, 60.0, 90.0, 180.0])
@pytest.mark.parametrize("length", [1e-3, 1.0, 1e4])
def test_the_angle_of_two_vectors_whatever_their_length(degrees: float, length: float) -> None:
    assert mean_angle(fan(degrees, length)) == pytest.approx(degrees, rel=1e-6)


def test_the_angle_of_many_is_that_of_their_mean_cosine() -> None:
    rows = np.random.default_rng(0).standard_normal((50, 8)) + 1
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = (units @ units.T)[np.triu_indices(50, 1)]
    assert mean_angle([rows]) == pytest.approx(np.degrees(np.arccos(cosines.mean())), rel=1e-9)


def test_equal_vectors_and_vectors_of_nothing_have_no_angle() -> None:
    assert mean_angle([np.ones((5, 3), np.float16)]) == pytest.approx(0, abs=1e-6)
    assert mean_angle([np.zeros((5, 3), np.float16)]) == 0


def test_one_vector_is_like_no_other() -> None:
    assert mean_angle([np.ones((1, 3))]) == 90
