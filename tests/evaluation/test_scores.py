"""Per-query scores survive the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mtbench.evaluation.scores import TaskScores, read_scores, write_scores


def test_scores_read_back_equal_with_nan_and_without_foreign_metrics(tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    nq = TaskScores(["1", "2"], {"rprecision_page": np.array([1 / 3, np.nan]), "mrr@10": np.array([0.5, 0.1])})
    el = TaskScores(["x"], {"rprecision_page": np.array([1.0])})
    write_scores(path, {"nq": nq, "el": el})
    back = read_scores(path)
    assert list(back) == ["nq", "el"]
    assert list(back["el"].per_query) == ["rprecision_page"]
    assert back["nq"].ids == ["1", "2"]
    for name, values in nq.per_query.items():
        assert np.array_equal(back["nq"].per_query[name], values, equal_nan=True)
    assert back["nq"].means == nq.means


def test_no_task_gives_an_empty_file(tmp_path: Path) -> None:
    write_scores(tmp_path / "scores.parquet", {})
    assert read_scores(tmp_path / "scores.parquet") == {}
