from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mtbench.training import sensitivity
from mtbench.training.sensitivity import SensitivityTable, Thresholds


def table(folder: Path, rows: list[list[float]]) -> SensitivityTable:
    values = torch.tensor(rows)
    found = SensitivityTable(folder / "s.npy", len(rows), values.shape[1])
    for k, row in enumerate(values):
        found.add(k, torch.ones(len(row)), row, 1.0)
    return found


def test_sensitivities_are_absolute_products_added_over_batches(tmp_path: Path) -> None:
    found = SensitivityTable(tmp_path / "s.npy", 1, 3)
    theta = torch.tensor([2.0, -1.0, 0.0])
    found.add(0, theta, torch.tensor([-1.0, 3.0, 5.0]), 0.5)
    found.add(0, theta, torch.tensor([1.0, 1.0, 5.0]), 0.5)
    assert np.allclose(found._rows[0], [2.0, 2.0, 0.0])


def test_rows_are_divided_by_their_lower_median_or_that_of_the_non_zero_entries(tmp_path: Path) -> None:
    found = table(tmp_path, [[1.0, 2.0, 4.0, 8.0], [0.0, 0.0, 0.0, 5.0], [0.0, 0.0, 0.0, 0.0]])
    assert found.normalise() == [2.0, 5.0, 0.0]
    assert np.allclose(found._rows, [[0.5, 1, 2, 4], [0, 0, 0, 1], [0, 0, 0, 0]])


def test_each_parameter_is_counted_once_and_for_what_it_is(tmp_path: Path) -> None:
    # one of task a alone, one shared evenly, one idle
    found = table(tmp_path, [[9.0, 1.0, 0.01], [0.0, 1.0, 0.01]])
    entropy = found.analyse(["a", "b"])["entropy"]
    assert (entropy["task_specific"], entropy["not_activated"], sum(entropy["counts"])) == (1, 1, 1)
    assert entropy["task_specific_by_task"] == {"a": 1, "b": 0}
    assert entropy["counts"][-1] == 1  # ln 2 lies in the last bin


def test_thresholds_are_settings(tmp_path: Path) -> None:
    found = table(tmp_path, [[9.0, 1.0, 0.01], [0.0, 1.0, 0.01]])
    entropy = found.analyse(["a", "b"], thresholds=Thresholds(task_specific=0.0, not_activated=0.0))["entropy"]
    assert (entropy["task_specific"], entropy["not_activated"]) == (0, 0)


def test_densities_integrate_to_one_and_chunks_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.abs(np.random.default_rng(0).standard_normal((3, 1000))).tolist()
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = table(tmp_path / "a", rows).analyse(["a", "b", "c"])
    monkeypatch.setattr(sensitivity, "CHUNK", 64)
    assert table(tmp_path / "b", rows).analyse(["a", "b", "c"]) == whole
    bins = whole["sensitivity"]["bins"]
    for density in whole["sensitivity"]["density"].values():
        assert sum(density) * (bins[1] - bins[0]) == pytest.approx(1.0, abs=1e-3)


def test_the_file_is_deleted(tmp_path: Path) -> None:
    table(tmp_path, [[1.0]]).close()
    assert not list(tmp_path.iterdir())
