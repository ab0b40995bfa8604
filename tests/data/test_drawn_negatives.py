from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mtbench.data.copies import Copies
from mtbench.data.negatives import Negatives, NoNegativeError, NotNegative, own_rows, sample_negatives
from mtbench.errors import ConfigError


def mined() -> Negatives:
    """50 queries over 500 passages: 20 mined of each, but 3 of query 7; the first judged passage is forbidden there."""
    random = np.random.default_rng(0)
    indices = np.stack([random.choice(499, 20, replace=False) + 1 for _ in range(50)]).astype(np.int32)
    indices[7, 3:] = -1
    starts = np.array([0] * 8 + [1] * 43, dtype=np.int64)
    return Negatives(indices, {"fill_rate": 0.9}, 500, starts, np.array([0], dtype=np.int32))


@pytest.mark.parametrize("mode", ["top", "random"])
def test_sampling_is_a_pure_function_of_its_arguments(mode: str) -> None:
    negatives = mined()
    where = {"seed": 3, "episode": 2, "epoch": 1}
    np.random.seed(0)
    whole, _ = sample_negatives(negatives, np.arange(50), 6, mode=mode, **where)
    order = np.random.default_rng(1).permutation(50)
    np.random.seed(99)
    other, _ = sample_negatives(negatives, order, 6, mode=mode, **where)
    np.testing.assert_array_equal(other, whole[order])
    alone, _ = sample_negatives(negatives, np.array([7]), 6, mode=mode, **where)
    np.testing.assert_array_equal(alone[0], whole[7])


def test_each_coordinate_changes_random_sampling() -> None:
    negatives = mined()
    base = {"seed": 0, "episode": 0, "epoch": 0}
    first, _ = sample_negatives(negatives, np.arange(50), 4, mode="random", **base)
    for name in base:
        other, _ = sample_negatives(negatives, np.arange(50), 4, mode="random", **(base | {name: 1}))
        assert (first != other).mean() > 0.5
    inside = [set(first[i].tolist()) <= set(negatives.indices[i].tolist()) for i in range(50)]
    assert all(ok for i, ok in enumerate(inside) if i != 7)


def test_top_takes_the_first_and_counts_what_it_draws() -> None:
    negatives = mined()
    rows, drawn = sample_negatives(negatives, np.array([0, 7]), 5, mode="top")
    np.testing.assert_array_equal(rows[0], negatives.indices[0, :5])
    kept = (negatives.indices[7] >= 0).sum()
    np.testing.assert_array_equal(rows[1, :kept], negatives.indices[7, :kept])
    assert drawn == 5 - kept and (rows >= 0).all()


def test_random_draws_cover_what_was_mined_evenly() -> None:
    negatives = mined()
    counts = np.zeros(500, dtype=int)
    for epoch in range(400):
        rows, _ = sample_negatives(negatives, np.array([0]), 5, mode="random", epoch=epoch)
        counts[rows[0]] += 1
    expected = counts[negatives.indices[0]]
    assert expected.sum() == 2000 and (expected > 60).all() and (expected < 140).all()


def test_tiny_corpora_repeat_rather_than_fail_unless_nothing_is_allowed() -> None:
    found = Negatives(np.array([[1, 2, -1]], np.int32), {}, 3, np.array([0, 1]), np.array([0], np.int32))
    rows, drawn = sample_negatives(found, np.array([0]), 3)
    assert set(rows[0].tolist()) == {1, 2} and drawn == 1
    nothing = Negatives(np.full((1, 2), -1, np.int32), {}, 3, np.array([0, 3]), np.arange(3, dtype=np.int32))
    with pytest.raises(NoNegativeError, match="no possible negative among 3") as caught:
        sample_negatives(nothing, np.array([0]), 1)
    assert caught.value.query == 0


def test_saved_negatives_come_back(tmp_path: Path) -> None:
    negatives = mined()
    negatives.save(tmp_path / "new")
    loaded = Negatives.load(tmp_path / "new")
    assert loaded.stats == negatives.stats and loaded.num_passages == 500
    for mode in ("top", "random"):
        expected = sample_negatives(negatives, np.arange(50), 9, mode=mode)
        found = sample_negatives(loaded, np.arange(50), 9, mode=mode)
        np.testing.assert_array_equal(found[0], expected[0])
        assert found[1] == expected[1]


def test_wrong_use_is_refused() -> None:
    with pytest.raises(ConfigError, match="per_query"):
        sample_negatives(mined(), np.array([0]), 21)
    with pytest.raises(ConfigError, match="sampling"):
        sample_negatives(mined(), np.array([0]), 1, mode="best")  # type: ignore[arg-type]


class _Rows:
    """Queries with one relevant passage each."""

    def positives(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        return np.array([i], np.int32), np.array([1], np.int32)


class _Corpus:
    def __init__(self, copies: Copies | None = None) -> None:
        self.copies = copies


def test_relevant_passages_their_copies_and_the_query_itself_are_no_negatives() -> None:
    copies = Copies(np.array([0, 5, 6], np.int32), np.array([0, 3], np.int32))
    assert NotNegative(_Rows(), _Corpus())(0).tolist() == [0]
    assert NotNegative(_Rows(), _Corpus(copies))(0).tolist() == [0, 5, 6]
    assert NotNegative(_Rows(), _Corpus(copies))(1).tolist() == [1]
    own = own_rows(["a", "b"], lambda name: {"a": 3}.get(name, -1))
    assert NotNegative(_Rows(), _Corpus(copies), own)(0).tolist() == [0, 5, 6, 3]
    assert NotNegative(_Rows(), _Corpus(), own)(1).tolist() == [1]
