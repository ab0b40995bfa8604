"""The analysis of parameters, on tables whose truth is known by construction."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mtbench.config import AnalyzeConfig
from mtbench.records.curves import Entropy
from mtbench.training import sensitivity
from mtbench.training.sensitivity import SensitivityTable, entropy_of, shares_of

TASKS = ["a", "b", "c", "d"]


def table(folder: Path, rows: Any) -> SensitivityTable:
    values = torch.tensor(np.asarray(rows, dtype=np.float32))
    found = SensitivityTable(folder / "s.npy", len(values), values.shape[1])
    for k, row in enumerate(values):
        found.add(k, torch.ones(len(row)), row, 1.0)
    return found


def kinds(found: SensitivityTable, tasks: list[str] = TASKS, **settings: Any) -> Entropy:
    return found.entropy(tasks, found.normalisation().medians, AnalyzeConfig(**settings))


def known_world(scales: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)) -> np.ndarray:
    """4 tasks, 10,000 parameters: 40 % are no task's, 10 % idle, of the others 800, 600, 400 and 200 belong to tasks
    a, b, c and d alone, and 3,000 to all alike. ``scales``: of the tasks' losses, which sensitivities go with."""
    draws = np.random.default_rng(0)
    rows = np.zeros((4, 10_000))
    rows[:, :3000] = draws.uniform(0.8, 1.2, (4, 3000))
    start = 3000
    for k, count in enumerate((800, 600, 400, 200)):
        rows[k, start : start + count] = draws.uniform(20, 30, count)  # the others: 0, they lack these words
        start += count
    rows[:, 5000:6000] = draws.uniform(1e-4, 1e-2, (4, 1000))
    return rows * np.array(scales)[:, None]


@pytest.mark.parametrize("scales", [(1.0, 1.0, 1.0, 1.0), (1e-6, 1.0, 30.0, 1e-9)])
def test_the_shares_of_a_world_that_is_known(tmp_path: Path, scales: tuple[float, ...]) -> None:
    entropy = kinds(table(tmp_path, known_world(scales)))
    assert entropy["unused"] == 4000 and entropy["not_activated"] == 1000
    assert entropy["task_specific_by_task"] == {"a": 800, "b": 600, "c": 400, "d": 200}
    assert entropy["task_specific"] == 2000 and entropy["committed"] == 2000
    assert entropy["counts"][-1] == 3000 == sum(entropy["counts"])  # ln 4 lies in the last bin
    assert entropy["parameters"] == 10_000


def test_medians_are_over_the_parameters_that_every_task_uses(tmp_path: Path) -> None:
    rows = known_world((1.0, 10.0, 0.1, 1.0))
    rows[3, 3000:5000] = 0  # task d has half of the words of the others, and no smaller median for that
    found = table(tmp_path, rows).normalisation()
    assert found.medians == pytest.approx([m * found.medians[0] for m in (1.0, 10.0, 0.1, 1.0)], rel=0.02)
    assert found.over == "used by all tasks" and found.counted == 4000 and found.unused == 4200
    assert found.zeros == [5200, 5400, 5600, 6000]


def test_a_parameter_of_no_task_changes_nothing(tmp_path: Path) -> None:
    rows = known_world()
    with_zeros = kinds(table(tmp_path, np.concatenate([rows, np.zeros((4, 90_000))], axis=1)))
    without = kinds(table(tmp_path, rows[:, :6000]))
    for key in ("task_specific_by_task", "not_activated", "counts", "committed"):
        assert with_zeros[key] == without[key]  # type: ignore[literal-required]
    assert (with_zeros["unused"], without["unused"]) == (94_000, 0)


def test_a_task_without_gradient_leaves_the_others_as_they_are(tmp_path: Path) -> None:
    rows = known_world()
    rows[3] = 0
    found = table(tmp_path, rows).normalisation()
    assert found.medians[3] == 0 and found.medians[:3] == pytest.approx([0.933] * 3, abs=0.01)
    assert found.counted == 4000 and found.zeros[3] == 10_000


def test_where_no_parameter_is_used_by_all_each_median_is_over_the_own_ones(tmp_path: Path) -> None:
    found = table(tmp_path, [[1.0, 2.0, 9.0, 0.0], [0.0, 0.0, 0.0, 5.0], [0.0] * 4])
    normalisation = found.normalisation()
    assert normalisation.over == "used by the task" and normalisation.medians == [2.0, 5.0, 0.0]
    assert kinds(found, ["a", "b", "c"], tau=0.1)["task_specific_by_task"] == {"a": 3, "b": 1, "c": 0}


def test_the_distribution_is_the_papers_softmax(tmp_path: Path) -> None:
    column = np.array([[8.0], [2.0], [0.0]])
    powers = [math.exp(i / 2) for i in (8, 2, 0)]
    expected = [p / sum(powers) for p in powers]
    shares = shares_of(column, AnalyzeConfig())
    assert shares[:, 0] == pytest.approx(expected)
    assert entropy_of(shares)[0] == pytest.approx(-sum(p * math.log(p) for p in expected))
    assert shares_of(column, AnalyzeConfig(distribution="shares"))[:, 0] == pytest.approx([0.8, 0.2, 0.0])
    assert shares_of(np.array([[5e4], [1.0]]), AnalyzeConfig())[:, 0] == pytest.approx([1.0, 0.0])  # no overflow


def test_which_distribution_decides_how_many_are_task_specific(tmp_path: Path) -> None:
    # half of the parameters lean to one task by 12 medians against 2: e^5 : 1 in the softmax, 6 : 1 as shares
    rows = np.ones((2, 100))
    rows[:, :30] = [[12.0], [2.0]]
    found = table(tmp_path, rows)
    assert kinds(found, ["a", "b"])["task_specific"] == 30
    assert kinds(found, ["a", "b"])["committed"] == 30
    assert kinds(found, ["a", "b"], distribution="shares")["task_specific"] == 0
    assert kinds(found, ["a", "b"], distribution="shares")["committed"] == 0
    assert kinds(found, ["a", "b"], tau=20)["task_specific"] == 0
    assert kinds(found, ["a", "b"], distribution="shares")["tau"] is None


def test_thresholds_are_settings(tmp_path: Path) -> None:
    found = table(tmp_path, [[9.0, 1.0, 1.0, 0.01], [0.0, 1.0, 1.0, 0.01]])
    entropy = kinds(found, ["a", "b"])
    assert (entropy["task_specific"], entropy["not_activated"], sum(entropy["counts"])) == (1, 1, 2)
    entropy = kinds(found, ["a", "b"], task_specific=0.0, not_activated=0.0)
    assert (entropy["task_specific"], entropy["not_activated"], sum(entropy["counts"])) == (0, 0, 4)


def test_the_histogram_begins_where_task_specific_ends(tmp_path: Path) -> None:
    assert kinds(table(tmp_path, np.ones((4, 5))))["bins"][0] == 0.3
    alone = kinds(table(tmp_path, [[1.0, 2.0]]), ["a"])
    assert alone["task_specific"] == 2 and sum(alone["counts"]) == 0


def test_sensitivities_are_absolute_products_added_over_batches(tmp_path: Path) -> None:
    found = SensitivityTable(tmp_path / "s.npy", 1, 3)
    theta = torch.tensor([2.0, -1.0, 0.0])
    found.add(0, theta, torch.tensor([-1.0, 3.0, 5.0]), 0.5)
    found.add(0, theta, torch.tensor([1.0, 1.0, 5.0]), 0.5)
    assert np.allclose(found._rows[0], [2.0, 2.0, 0.0])


def test_densities_are_of_raw_sensitivities_on_a_grid_that_all_runs_share(tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    rows = 10 ** draws.normal([[-6.0], [-4.0]], 0.5, (2, 20_000))
    rows[0, :5000] = 0
    rows[1, 0] = 1e15  # an outlier: one of 20,000
    found = table(tmp_path, rows).density(["a", "b"])
    edges = np.array(found["bins"])
    assert np.allclose(edges * 10, np.round(edges * 10)) and -8 < edges[0] < -7 and -3 < edges[-1] < -2
    middles = (edges[:-1] + edges[1:]) / 2
    for task, mean, total in (("a", -6.0, 15_000), ("b", -4.0, 20_000)):
        counts = np.array(found["counts"][task])
        assert counts.sum() + found["outliers"][task] == total
        assert 0 < found["outliers"][task] <= 2 * sensitivity.OUTLIERS * total
        assert (counts * middles).sum() / counts.sum() == pytest.approx(mean, abs=0.02)
        assert max(counts[0], counts[-1]) < 0.02 * counts.max()  # no spikes at the edges


def test_a_table_of_zeros_has_no_density(tmp_path: Path) -> None:
    found = table(tmp_path, np.zeros((2, 5)))
    assert found.density(["a", "b"])["counts"] == {"a": [], "b": []}
    assert kinds(found, ["a", "b"])["unused"] == 5


def test_chunks_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = table(tmp_path, known_world())
    before = (whole.density(TASKS), kinds(whole))
    monkeypatch.setattr(sensitivity, "CHUNK", 64)
    pieces = table(tmp_path, known_world())
    assert (pieces.density(TASKS), kinds(pieces)) == before


def test_the_file_is_deleted(tmp_path: Path) -> None:
    table(tmp_path, [[1.0]]).close()
    assert not list(tmp_path.iterdir())
