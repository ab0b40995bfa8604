from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from retrieval_oracles import assert_equal, rank_by_definition

from mtbench.errors import ConfigError, RunError
from mtbench.retrieval.exact_search import BlockSizes, search_exact
from mtbench.retrieval.products import TINY, dot_products, error_bound
from mtbench.retrieval.search import Backend, search
from mtbench.retrieval.vectors import Vectors

EXACT: tuple[Backend, ...] = ("exact", "flat")


@settings(derandomize=True, deadline=None, max_examples=120)
@given(st.integers(0, 2**32 - 1), st.sampled_from(EXACT), st.booleans())
def test_equals_the_definition_where_ties_are_everywhere(seed: int, backend: Backend, grouped: bool) -> None:
    random = np.random.default_rng(seed)
    passages, dimension = int(random.integers(1, 40)), int(random.integers(1, 7))
    num_queries, k = int(random.integers(0, 6)), int(random.integers(1, 45))
    queries = random.integers(-1, 2, (num_queries, dimension)).astype(np.float32)
    corpus = random.integers(-1, 2, (passages, dimension)).astype(np.float16)
    id_rank = random.permutation(passages).astype(np.int32)
    shards = np.split(corpus, np.sort(random.integers(0, passages + 1, 2)))
    groups = query_groups = allowed = None
    if grouped:
        groups = random.integers(0, 3, passages).astype(np.int32)
        query_groups = random.integers(0, 4, num_queries).astype(np.int32)
        allowed = query_groups[:, None] == groups[None]
    vectors = Vectors(shards, id_rank, groups)
    if backend == "exact":
        sizes = BlockSizes(int(random.integers(1, 12)), int(random.integers(1, 4)), int(random.integers(1, 30)))
        found = search_exact(queries, vectors, k, query_groups=query_groups, sizes=sizes)
    else:
        found = search(queries, vectors, k, query_groups=query_groups, backend=backend)
    assert_equal(found, rank_by_definition(queries @ corpus.T.astype(np.float32), k, id_rank, allowed))


def real_vectors(seed: int, count: int, dimension: int, offset: float = 0.0) -> np.ndarray:
    spread = 1e-3 if offset else 1.0
    return np.random.default_rng(seed).standard_normal((count, dimension)) * spread + offset


@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_bits_do_not_depend_on_blocks_shards_or_backend(offset: float) -> None:
    """With an offset all dot products are nearly equal, as those of an untrained T5: rounding would decide."""
    queries = real_vectors(0, 40, 96, offset).astype(np.float32)
    corpus = real_vectors(1, 3000, 96, offset).astype(np.float16)
    id_rank = np.random.default_rng(2).permutation(3000).astype(np.int32)
    whole = search(queries, Vectors([corpus], id_rank), 50)
    for rows, cuts, block, window in ((3000, [], 40, 3000), (7, [1, 2000], 1, 99), (512, [1234], 17, 2000)):
        assert_equal(
            search_exact(queries, Vectors(np.split(corpus, cuts), id_rank), 50, sizes=BlockSizes(rows, block, window)),
            whole,
        )
    assert_equal(search(queries, Vectors(np.split(corpus, [700]), id_rank), 50, backend="flat"), whole)
    exact = queries.astype(np.float64) @ corpus.T.astype(np.float64)
    assert_equal(whole, rank_by_definition(exact, 50, id_rank))


def test_order_of_passages_does_not_matter() -> None:
    queries, corpus = real_vectors(0, 5, 24).astype(np.float32), real_vectors(1, 400, 24).astype(np.float16)
    corpus[100:300] = corpus[0]
    id_rank = np.arange(400, dtype=np.int32)
    first = search(queries, Vectors([corpus], id_rank), 60)
    shuffle = np.random.default_rng(0).permutation(400)
    second = search(queries, Vectors([corpus[shuffle]], id_rank[shuffle]), 60)
    np.testing.assert_array_equal(shuffle[second.indices], first.indices)
    np.testing.assert_array_equal(second.scores, first.scores)


@pytest.mark.parametrize("backend", EXACT)
@pytest.mark.parametrize(("passages", "k"), [(1, 1), (1, 5), (3, 1), (50, 50), (50, 51)])
def test_all_zero_embeddings_go_by_id_descending(backend: Backend, passages: int, k: int) -> None:
    id_rank = np.random.default_rng(0).permutation(passages).astype(np.int32)
    found = search(
        np.zeros((2, 4), np.float32), Vectors([np.zeros((passages, 4), np.float16)], id_rank), k, backend=backend
    )
    expected = np.argsort(-id_rank)[:k]
    for row in found.indices:
        np.testing.assert_array_equal(row[: len(expected)], expected)
        assert (row[len(expected) :] == -1).all()


@pytest.mark.parametrize("backend", EXACT)
def test_more_ties_than_faiss_is_asked_for(backend: Backend) -> None:
    """2,000 equal best passages, k = 3: only an id decides, far beyond any slack."""
    id_rank = np.random.default_rng(3).permutation(3000).astype(np.int32)
    corpus = np.zeros((3000, 2), np.float16)
    corpus[:2000] = [1, 0]
    found = search(np.array([[1, 5]], np.float32), Vectors([corpus[:900], corpus[900:]], id_rank), 3, backend=backend)
    expected = sorted(range(2000), key=lambda i: -id_rank[i])[:3]
    np.testing.assert_array_equal(found.indices, [expected])


@pytest.mark.parametrize("backend", ["exact", "flat", "ivf", "hnsw"])
def test_memory_mapped_read_only_shards(backend: Backend, tmp_path: Path) -> None:
    corpus = real_vectors(1, 600, 16).astype(np.float16)
    corpus /= np.linalg.norm(corpus, axis=1, keepdims=True)
    for number, part in enumerate(np.split(corpus, [250])):
        np.save(tmp_path / f"{number}.npy", part)
    shards = [np.load(tmp_path / f"{number}.npy", mmap_mode="r") for number in range(2)]
    vectors = Vectors(shards, np.arange(600, dtype=np.int32))
    found = search(corpus[:30].astype(np.float32), vectors, 5, backend=backend)
    assert (found.indices[:, 0] == np.arange(30)).mean() > 0.9
    again = search(corpus[:30].astype(np.float32), vectors, 5, backend=backend)
    assert_equal(found, again)


@pytest.mark.parametrize("backend", ["ivf", "hnsw"])
def test_approximate_indexes_keep_scores_ties_and_groups(backend: Backend) -> None:
    queries, corpus = real_vectors(0, 20, 16).astype(np.float32), real_vectors(1, 500, 16).astype(np.float16)
    id_rank = np.random.default_rng(0).permutation(500).astype(np.int32)
    groups, query_groups = np.arange(500) % 3, np.arange(20) % 4
    found = search(queries, Vectors([corpus], id_rank, groups), 200, query_groups=query_groups, backend=backend)
    scores = np.einsum("qd,nd->qn", queries.astype(np.float64), corpus.astype(np.float64)).astype(np.float32)
    for query, row in enumerate(found.indices):
        row = row[row >= 0]
        assert len(set(row.tolist())) == len(row) <= 167
        assert (groups[row] == query_groups[query]).all()
        np.testing.assert_array_equal(found.scores[query, : len(row)], scores[query, row])
    assert (found.indices[query_groups == 3] == -1).all()
    assert (found.indices[query_groups == 0, 0] >= 0).all()


@pytest.mark.parametrize("backend", EXACT)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_vector_that_is_not_finite_is_named(backend: Backend, value: float) -> None:
    queries, corpus = np.ones((3, 2), np.float32), np.ones((5, 2), np.float16)
    queries[2, 1] = value
    with pytest.raises(RunError, match="query 2 is not finite"):
        search(queries, Vectors([corpus], np.arange(5)), 2, backend=backend)
    corpus[4, 0] = value
    with pytest.raises(RunError, match="passage 4 is not finite"):
        search(np.ones((3, 2), np.float32), Vectors([corpus[:2], corpus[2:]], np.arange(5)), 2, backend=backend)


@pytest.mark.parametrize("backend", EXACT)
def test_overflow_is_an_error(backend: Backend) -> None:
    with pytest.raises(RunError, match="overflow"):
        corpus = Vectors([np.full((3, 2), 6e4, np.float16)], np.arange(3))
        search(np.full((1, 2), 1e36, np.float32), corpus, 2, backend=backend)


def test_empty_corpus_and_no_queries() -> None:
    none = search(np.ones((2, 3), np.float32), Vectors([np.empty((0, 3), np.float16)], np.empty(0, np.int32)), 4)
    assert (none.indices == -1).all() and np.isneginf(none.scores).all()
    corpus = Vectors([np.ones((2, 3), np.float16)], np.arange(2))
    assert search(np.empty((0, 3), np.float32), corpus, 4).indices.shape == (0, 4)


def test_wrong_use_is_refused() -> None:
    queries, shard, ranks = np.ones((2, 3), np.float32), np.ones((4, 3), np.float16), np.arange(4)
    corpus = Vectors([shard], ranks)
    with pytest.raises(ConfigError, match="'annoy'"):
        search(queries, corpus, 1, backend="annoy")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="id_rank has 3"):
        Vectors([shard], ranks[:3])
    with pytest.raises(ValueError, match="groups has 3"):
        Vectors([shard], ranks, ranks[:3])
    for backend in EXACT:
        with pytest.raises(ConfigError, match="k is 0"):
            search(queries, corpus, 0, backend=backend)
        with pytest.raises(ValueError, match="dimensions"):
            search(queries[:, :2], corpus, 1, backend=backend)
        with pytest.raises(ValueError, match="together"):
            search(queries, Vectors([shard], ranks, ranks), 1, backend=backend)
        with pytest.raises(ValueError, match="together"):
            search(queries, corpus, 1, query_groups=ranks[:2], backend=backend)
        with pytest.raises(ValueError, match="query_groups has 4"):
            search(queries, Vectors([shard], ranks, ranks), 1, query_groups=ranks, backend=backend)


def test_the_callers_precision_is_restored_and_not_used() -> None:
    queries, corpus = real_vectors(0, 8, 64).astype(np.float32), real_vectors(1, 300, 64).astype(np.float16)
    vectors = Vectors([corpus], np.arange(300))
    expected = search(queries, vectors, 20)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        assert_equal(search(queries, vectors, 20), expected)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 70))
def test_dot_products_depend_on_the_pair_alone_and_bound_the_fast_ones(seed: int, dimension: int) -> None:
    random = np.random.default_rng(seed)
    left = torch.from_numpy(
        (random.standard_normal((9, dimension)) * 10.0 ** random.integers(-4, 5)).astype(np.float32)
    )
    right = torch.from_numpy(random.standard_normal((9, dimension)).astype(np.float32))
    together = dot_products(left, right)
    for i in range(9):
        assert together[i] == dot_products(left[i : i + 1], right[i : i + 1])[0]
    fast = torch.diagonal(left @ right.T)
    largest = float(right.double().norm(dim=1).max())
    bound = left.double().norm(dim=1).numpy() * error_bound(largest, dimension) + TINY
    assert ((fast - together).abs().numpy() <= bound / 2).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_cuda_equals_cpu_bit_for_bit(offset: float) -> None:
    queries = real_vectors(0, 64, 128, offset).astype(np.float32)
    corpus = real_vectors(1, 5000, 128, offset).astype(np.float16)
    for groups, query_groups in ((None, None), (np.arange(5000) % 3, np.arange(64) % 3)):
        vectors = Vectors([corpus], np.arange(5000), groups)
        assert_equal(
            search(queries, vectors, 100, query_groups=query_groups, device="cuda"),
            search(queries, vectors, 100, query_groups=query_groups),
        )
