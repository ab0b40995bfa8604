from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from retrieval_oracles import assert_equal, rank_by_definition

from mtbench.retrieval.ranking import (
    NO_KEY,
    Ranking,
    key_scores,
    largest_keys,
    rows_by_rank,
    sort_keys,
)

finite = st.floats(width=32, allow_nan=False, allow_infinity=False)


@settings(derandomize=True, deadline=None)
@given(st.lists(st.tuples(finite, st.integers(0, 3)), min_size=1, max_size=30))
def test_keys_order_as_scores_then_ids(entries: list[tuple[float, int]]) -> None:
    scores = np.array([s for s, _ in entries], dtype=np.float32)
    ranks = np.array([r for _, r in entries], dtype=np.int32)
    keys = sort_keys(scores, ranks)
    for i in range(len(entries)):
        for j in range(len(entries)):
            assert (keys[i] < keys[j]) == ((scores[i], ranks[i]) < (scores[j], ranks[j]))
    np.testing.assert_array_equal(key_scores(keys), scores)
    assert (keys > NO_KEY).all()


def test_negative_zero_ties_with_zero() -> None:
    scores, ranks = np.array([0.0, -0.0], dtype=np.float32), np.array([1, 1])
    assert len(set(sort_keys(scores, ranks).tolist())) == 1


def test_largest_keys_pads_and_sorts() -> None:
    keys = np.array([[5, NO_KEY, 9]], dtype=np.int64)
    np.testing.assert_array_equal(largest_keys(keys, 2), [[9, 5]])
    np.testing.assert_array_equal(largest_keys(keys, 5), [[9, 5, NO_KEY, NO_KEY, NO_KEY]])
    np.testing.assert_array_equal(largest_keys(np.empty((1, 0), np.int64), 2), [[NO_KEY, NO_KEY]])


def test_restrict_moves_the_rest_up() -> None:
    ranking = Ranking(
        np.array([[4, 2, 0, 1], [3, 2, -1, -1]], dtype=np.int32),
        np.array([[4, 3, 2, 1], [2, 1, -np.inf, -np.inf]], dtype=np.float32),
    )
    keep = np.array([True, True, False, True, True])
    expected = Ranking(
        np.array([[4, 0, 1, -1], [3, -1, -1, -1]], dtype=np.int32),
        np.array([[4, 2, 1, -np.inf], [2, -np.inf, -np.inf, -np.inf]], dtype=np.float32),
    )
    assert_equal(ranking.restrict(keep), expected)
    assert_equal(ranking.restrict(keep[ranking.indices] & (ranking.indices >= 0)), expected)


def test_saved_ranking_comes_back_memory_mapped(tmp_path: Path) -> None:
    ranking = rank_by_definition(np.eye(3, 5), 7, np.arange(5))
    ranking.save(tmp_path / "new")
    loaded = Ranking.load(tmp_path / "new")
    assert_equal(loaded, ranking)
    assert isinstance(loaded.indices, np.memmap)
    assert_equal(loaded[1:2].top(2), Ranking(ranking.indices[1:2, :2], ranking.scores[1:2, :2]))


@pytest.mark.parametrize("ranks", [[0, 0], [1, 2], [-1, 0]])
def test_ranks_must_be_a_permutation(ranks: list[int]) -> None:
    with pytest.raises(ValueError, match="permutation"):
        rows_by_rank(np.array(ranks, dtype=np.int32))


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="one shape"):
        Ranking(np.zeros((2, 3), np.int32), np.zeros((2, 2), np.float32))


def test_one_result_can_be_left_out_of_each_query() -> None:
    scores = np.array([[5, 4, 3, 2], [1, 2, 3, 4], [4, 3, 2, 1]], dtype=np.float32)
    ranking = rank_by_definition(scores, 3, np.arange(4))
    allowed = np.array([[True, False, True, True], [True, True, True, True], [True, True, True, False]])
    expected = rank_by_definition(scores, 2, np.arange(4), allowed)
    assert_equal(ranking.without(np.array([1, -1, 3])), expected)
    short = Ranking(np.array([[2, -1]], np.int32), np.array([[1, -np.inf]], np.float32))
    assert short.without(np.array([2])).indices.tolist() == [[-1]]
