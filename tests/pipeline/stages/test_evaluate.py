"""The evaluate stage computes the metric that the suite ranks by, and adds none to other suites."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from evaluation_fakes import FakeCorpus, FakeQueries, FakeRanking

from mtbench.pipeline.stages.evaluate import _scores


@pytest.mark.parametrize("metric", ["success@1", "rprecision_passage"])
def test_success_at_one_stands_in_the_scores_of_suites_that_rank_by_it(metric: str) -> None:
    suite = SimpleNamespace(metric=metric, corpora={"docs": FakeCorpus([0, 1, 2])})
    queries = FakeQueries([{0: 1}, {2: 1}, {1: 1}])
    part = ("one", "docs", queries, np.array([2, 0]))
    found = _scores(cast(Any, suite), [cast(Any, part)], [cast(Any, FakeRanking([[1, 0], [2, 0]], 2))])["one"]
    assert found.per_query["rprecision_passage"].tolist() == [1.0, 0.0]
    if metric == "success@1":
        assert found.per_query[metric].tolist() == [1.0, 0.0]
    else:
        assert "success@1" not in found.per_query
