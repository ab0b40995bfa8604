from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from retrieval_oracles import FakeCorpus, FakeQueries

from mtbench.data.negatives import sample_negatives
from mtbench.errors import ConfigError
from mtbench.retrieval.negatives import in_turn, mine
from mtbench.retrieval.ranking import Ranking


def ranking(*rows: list[int]) -> Ranking:
    indices = np.array(rows, dtype=np.int32)
    return Ranking(indices, np.where(indices < 0, -np.inf, 1.0).astype(np.float32))


#            passage  0  1  2  3  4  5  6  7
PAGES = np.array([0, 0, 1, 1, 2, 2, 3, 4], dtype=np.int32)


def test_judged_passages_go_and_the_order_stays() -> None:
    found = mine(ranking([7, 0, 3, 1, 5, -1]), FakeQueries([[0, 5]]), FakeCorpus(PAGES), per_query=3)
    np.testing.assert_array_equal(found.indices, [[7, 3, 1]])
    assert found.indices.dtype == np.int32
    assert found.stats["fill_rate"] == 1.0 and found.stats["empty"] == 0 == found.stats["short"]
    assert found.stats["likely_false"] == pytest.approx(1 / 3)  # passage 1 lies on the page of passage 0


def test_page_exclusion_takes_gold_pages_and_pages_of_judged_passages() -> None:
    queries = FakeQueries([[0]], pages=[[[1], [3, -2]]])  # -2: a page that the corpus does not have
    found = mine(ranking([1, 2, 4, 3, 6, 7]), queries, FakeCorpus(PAGES), per_query=4, exclude="page")
    np.testing.assert_array_equal(found.indices, [[4, 7, -1, -1]])
    assert found.stats["likely_false"] == 0.0
    assert found.stats["likely_false_candidates"] == pytest.approx(4 / 6)
    assert (found.stats["fill_rate"], found.stats["short"]) == (0.5, 1)


def test_depth_is_a_window_of_ranks() -> None:
    queries, corpus = FakeQueries([[3]]), FakeCorpus(PAGES)
    found = mine(ranking([3, 0, 2, 4, 6, 7]), queries, corpus, depth=(2, 5), per_query=9)
    np.testing.assert_array_equal(found.indices[0, :3], [2, 4, 6])
    assert (found.indices[0, 3:] == -1).all()


def test_the_very_text_of_a_judged_passage_is_a_likely_false_negative() -> None:
    corpus = FakeCorpus(PAGES, texts=[[5, 6], [1, 1], [5, 6], [2], [5, 7], [3], [4], [9]])
    found = mine(ranking([2, 4, 5]), FakeQueries([[0]]), corpus, per_query=3)
    assert found.stats["likely_false"] == pytest.approx(1 / 3)


def test_queries_without_results_or_judgements() -> None:
    found = mine(ranking([-1, -1], [4, 5]), FakeQueries([[1], []]), FakeCorpus(PAGES), per_query=2)
    np.testing.assert_array_equal(found.indices, [[-1, -1], [4, 5]])
    assert (found.stats["empty"], found.stats["fill_rate"]) == (1, 0.5)


@settings(derandomize=True, deadline=None, max_examples=80)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["passage", "page"]), st.sampled_from(["top", "random"]))
def test_neither_mined_nor_drawn_negatives_touch_the_gold(seed: int, exclude: str, mode: str) -> None:
    random = np.random.default_rng(seed)
    corpus = FakeCorpus(random.integers(0, 12, 40).astype(np.int32))
    judged = [random.choice(40, random.integers(0, 4), replace=False).tolist() for _ in range(6)]
    pages = [[random.choice(12, 2).tolist()] for _ in range(6)]
    queries = FakeQueries(judged, pages if seed % 2 else None)
    ranks = ranking(*[random.choice(40, 15, replace=False).tolist() for _ in range(6)])
    found = mine(ranks, queries, corpus, depth=(0, 10), per_query=8, exclude=exclude)
    rows, drawn = sample_negatives(found, np.arange(6), 8, mode=mode, seed=seed)
    assert drawn == (found.indices < 0).sum()
    for i in range(6):
        for chosen in (found.indices[i][found.indices[i] >= 0], rows[i]):
            assert len(set(chosen.tolist())) == len(chosen)
            assert not set(chosen.tolist()) & set(judged[i])
            if exclude == "page":
                gold = set(corpus.pages[judged[i]].tolist()) | ({*pages[i][0]} if seed % 2 else set())
                assert not set(corpus.pages[chosen].tolist()) & gold


def test_wrong_use_is_refused() -> None:
    ranks, queries, corpus = ranking([1, 2]), FakeQueries([[0]]), FakeCorpus(PAGES)
    with pytest.raises(ConfigError, match="depth"):
        mine(ranks, queries, corpus, depth=(5, 5))
    with pytest.raises(ConfigError, match="per_query"):
        mine(ranks, queries, corpus, per_query=0)
    with pytest.raises(ConfigError, match="exclude"):
        mine(ranks, queries, corpus, exclude="document")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="queries"):
        mine(ranks, FakeQueries([[0], [1]]), corpus)


@pytest.mark.parametrize("exclude", ["passage", "page"])
def test_what_else_is_no_negative_is_neither_mined_nor_drawn(exclude: str) -> None:
    queries, corpus = FakeQueries([[0], [1]]), FakeCorpus(np.arange(8, dtype=np.int32))
    barred = [np.array([0, 5, 6]), np.array([1, 7])]
    ranks = ranking([5, 0, 2, 6], [7, 3, 1, 4])
    found = mine(ranks, queries, corpus, per_query=4, exclude=exclude, not_negative=lambda i: barred[i])
    np.testing.assert_array_equal(found.indices, [[2, -1, -1, -1], [3, 4, -1, -1]])
    for seed in range(20):
        rows, _ = sample_negatives(found, np.arange(2), 4, mode="random", seed=seed)
        assert set(rows[0].tolist()) <= {1, 2, 3, 4, 7} and set(rows[1].tolist()) <= {0, 2, 3, 4, 5, 6}


def test_passages_that_hold_an_answer_go_and_are_not_drawn_either() -> None:
    def holds(query: int, rows: np.ndarray) -> np.ndarray:
        return np.isin(rows, [[3, 7], [4]][query])

    given_rows = ranking([7, 3, 1, 5], [7, 3, 4, 6])
    found = mine(
        given_rows, FakeQueries([[0], [2]]), FakeCorpus(PAGES), per_query=3, exclude="answer", holds_answer=holds
    )
    np.testing.assert_array_equal(found.indices, [[1, 5, -1], [7, 3, 6]])
    drawn = {int(row) for epoch in range(60) for row in sample_negatives(found, np.array([0]), 3, epoch=epoch)[0][0]}
    assert drawn == {1, 5, 2, 4, 6}  # neither the relevant one nor those that hold an answer
    plain = mine(given_rows, FakeQueries([[0], [2]]), FakeCorpus(PAGES), per_query=3, exclude="answer")
    np.testing.assert_array_equal(plain.indices, [[7, 3, 1], [7, 3, 4]])


def test_two_rankings_in_turn() -> None:
    found = in_turn(ranking([1, 2, 3], [-1, -1, -1]), ranking([2, 4, -1], [5, 6, 7]))
    np.testing.assert_array_equal(found.indices, [[1, 2, 4, 3, -1, -1], [5, 6, 7, -1, -1, -1]])
    assert (np.diff(found.scores[1, :3]) < 0).all() and found.scores[1, 3] == -np.inf
