"""Looks at a model while it is trained."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from mtbench.training.ranks import Ranks
from mtbench.training.validation import Pool, Validator


class Queries:
    def __init__(self, *relevant: list[int]) -> None:
        self._relevant = relevant

    def positives(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        rows = np.array(self._relevant[i], dtype=np.int32)
        return rows, np.ones_like(rows)


def pool(relevant: list[list[int]], mined: list[list[int]]) -> Pool:
    queries = Queries(*relevant)
    negatives = SimpleNamespace(indices=np.array(mined, dtype=np.int32))
    examples: Any = SimpleNamespace(queries=queries, corpus="corpus", negatives=negatives, place=0)
    return Pool(examples, np.arange(len(relevant)))


def along_a_line(query: float) -> Any:
    """Every query is ``query``, every passage its own row, on a line: the larger row wins."""

    def encode(texts: Any, rows: np.ndarray, side: str, place: int) -> np.ndarray:
        values = np.full(len(rows), query) if side == "query" else rows.astype(float)
        return values[:, None].astype(np.float32)

    return encode


def test_the_mean_reciprocal_rank_in_the_pool() -> None:
    found = pool([[4, 9], [2]], [[7, 5, -1], [4, 2, -1]])
    assert found.passages.tolist() == [2, 4, 5, 7, 9]
    assert found.score(along_a_line(1.0)) == pytest.approx((1 + 1 / 5) / 2)
    assert found.score(along_a_line(-1.0)) == pytest.approx((1 / 2 + 1) / 2)
    assert found.score(along_a_line(float("nan"))) == pytest.approx((1 / 4 + 1 / 5) / 2)
    assert found.score(along_a_line(0.0)) == pytest.approx((1 / 4 + 1 / 5) / 2)  # of equal ones the relevant come last


def test_the_best_parameters_come_back_and_a_checkpoint_goes_on() -> None:
    theta = torch.zeros(2)

    def encode(texts: Any, rows: np.ndarray, side: str, place: int) -> np.ndarray:
        return along_a_line(float(theta[0]))(texts, rows, side, place)

    def validator() -> Validator:
        return Validator({"ask": pool([[9]], [[2]])}, encode, 2, True, theta, Ranks())

    first = validator()
    assert [first.is_due(done, 5) for done in (1, 2, 3, 4, 5)] == [False, True, False, True, True]
    theta.fill_(-1.0)
    first.look(2)
    theta.fill_(3.0)
    first.look(4)
    second = validator()
    second.restore(first.state())
    theta.fill_(-2.0)
    second.look(5)
    assert second.curve == {"steps": [2, 4, 5], "mrr": {"ask": [0.5, 1.0, 0.5]}, "mean": [0.5, 1.0, 0.5], "kept": 4}
    second.finish()
    assert theta.tolist() == [3.0, 3.0]
