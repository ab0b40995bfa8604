"""Per-query scores survive the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mtbench.evaluation.scores import TaskScores, read_scores, task_result, write_scores


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


def test_a_result_says_over_how_many_queries_a_metric_is_the_mean() -> None:
    nq = TaskScores(["1", "2", "3"], {"rprecision_page": np.array([1, 0, 0.5]), "mrr@10": np.array([0.5, np.nan, 0])})
    expected = {"metrics": {"rprecision_page": 0.5, "mrr@10": 0.25}, "num_queries": 3, "counted": {"mrr@10": 2}}
    assert task_result(nq) == expected
    assert "counted" not in task_result(TaskScores(["x"], {"mrr@10": np.array([1.0])}))


def test_files_of_the_first_writer_read_back_as_those_of_this_one(tmp_path: Path) -> None:
    """Stages that were computed before stand in stores, written by pandas."""
    import pandas as pd

    nq = TaskScores(["1", "2"], {"rprecision_page": np.array([1 / 3, np.nan]), "recall@20": np.array([0.5, 0.1])})
    el = TaskScores(["x"], {"rprecision_page": np.array([1.0])})
    frames = [pd.DataFrame({"task": n, "query_id": t.ids, **t.per_query}) for n, t in (("nq", nq), ("el", el))]
    pd.concat(frames, ignore_index=True).to_parquet(tmp_path / "old.parquet", index=False)
    write_scores(tmp_path / "new.parquet", {"nq": nq, "el": el})
    old, new = read_scores(tmp_path / "old.parquet"), read_scores(tmp_path / "new.parquet")
    assert list(old) == list(new)
    for task, scores in old.items():
        assert list(scores.ids) == list(new[task].ids) and list(scores.per_query) == list(new[task].per_query)
        for metric, values in scores.per_query.items():
            assert np.array_equal(values, new[task].per_query[metric], equal_nan=True)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "old.parquet"), pd.read_parquet(tmp_path / "new.parquet"))


def test_no_task_gives_an_empty_file(tmp_path: Path) -> None:
    write_scores(tmp_path / "scores.parquet", {})
    assert read_scores(tmp_path / "scores.parquet") == {}
