"""How a method's steps differ from naive's, and clipping to what naive would have been clipped to."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training.test_loop import StopHereError, config, trained, trainer

from mtbench.optim import LossWeighting, MultitaskOptimizer
from mtbench.registry import get_optimizer
from mtbench.training.loop import Trainer
from mtbench.training.naive_step import CLIP_NORM, NaiveStep, clip, largest_norm, step_difference

OWN = {"encoder": {"sharing": "per-task-query"}}


class Nearly(LossWeighting):
    """Naive, but that the first task has a thousandth more."""

    name = "nearly"
    summary = "nearly naive"

    def weights_before(self) -> list[float]:
        return [1.001 / 3, 1 / 3, 0.999 / 3]


class Opposite(LossWeighting):
    """Minus the mean."""

    name = "opposite"
    summary = "uphill"

    def weights_before(self) -> list[float]:
        return [-1 / 3] * 3


def differences(job: Trainer) -> list[float]:
    return [e["step_difference"] for e in job.journal.entries if e.get("step_difference") is not None]  # type: ignore[misc]


@pytest.mark.parametrize("settings", [{}, OWN, {"clip_norm": 0}, {"clip_norm": "naive"}, {"clip_norm": 0.01}])
@pytest.mark.parametrize("scale", ["mean", "sum", "unit"])
def test_naive_is_naive_to_the_last_bit(settings: dict[str, Any], scale: str, tmp_path: Path) -> None:
    job = trainer(tmp_path, get_optimizer("naive")(scale=scale), steps=7, settings=config(**settings))
    summary = job.run()
    assert summary["step_difference"] == 0.0
    assert differences(job) == [0.0] * 4


def test_it_is_the_difference_of_two_steps_that_adam_really_takes(tmp_path: Path) -> None:
    """Twice the same weights and moments: one loop takes the method's step, the other naive's."""
    job = trainer(tmp_path / "a", "pcgrad", steps=8, settings=config(**OWN, log_every=1))
    for step in range(4):
        before, adam = job.flat.theta.clone(), copy.deepcopy(job.base.optimizers[0].state_dict())
        job._step(step)
    taken = job.flat.theta - before
    other = trainer(tmp_path / "b", "naive", steps=8, settings=config(**OWN, log_every=1))
    other.flat.theta.copy_(before)
    other.base.optimizers[0].load_state_dict(adam)
    other.reader.cursor = [3 * size for size in other.order.sizes]
    other._step(3)
    naive = other.flat.theta - before
    expected = float((taken - naive).norm() / naive.norm())
    assert expected > 0.001
    assert differences(job)[3] == pytest.approx(expected, rel=1e-3)


def test_it_is_small_for_what_is_nearly_naive_and_two_for_the_opposite_first_step(tmp_path: Path) -> None:
    job = trainer(tmp_path / "a", Nearly(), steps=9)
    assert 0 < job.run()["step_difference"] < 0.01  # type: ignore[operator]
    job = trainer(tmp_path / "b", Opposite(), steps=1)
    assert job.run()["step_difference"] == pytest.approx(2.0, rel=1e-5)  # Adam's first step is the gradient's sign


@pytest.mark.parametrize("name", ["tsage", "famo"])
def test_looking_changes_no_figure(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theta, summary = trained(tmp_path / "a", name, 8)
    assert summary["step_difference"] > 0
    monkeypatch.setattr(NaiveStep, "begin", lambda self, wanted: None)
    unseen, without = trained(tmp_path / "b", name, 8)
    assert without["step_difference"] is None
    assert torch.equal(theta, unseen) and summary["update_digest"] == without["update_digest"]


def test_the_mean_counts_the_steps_before_an_interruption(tmp_path: Path) -> None:
    def stop(done: int, total: int, losses: dict[str, float]) -> None:
        if done == 7:
            raise StopHereError

    with pytest.raises(StopHereError):
        trainer(tmp_path / "x", "cagrad", 10).run(stop)
    resumed = trainer(tmp_path / "x", "cagrad", 10)
    whole = trainer(tmp_path / "y", "cagrad", 10)
    assert resumed.run()["step_difference"] == whole.run()["step_difference"]
    assert differences(resumed) == differences(whole) and len(differences(whole)) == 6
    assert whole.journal.step_difference == pytest.approx(np.mean(differences(whole)), rel=1e-5)


def test_a_step_that_is_skipped_has_no_difference(tmp_path: Path) -> None:
    job = trainer(tmp_path, "pcgrad", steps=3, settings=config(log_every=1))
    finish = job.optimizer.finish

    def broken(out: torch.Tensor) -> bool:
        return finish(out) and job.optimizer.step_index != 1

    job.optimizer.finish = broken  # type: ignore[method-assign]
    job.run()
    assert ["step_difference" in e for e in job.journal.entries] == [True, False, True]


def test_with_clip_norm_naive_no_update_is_longer_than_naives_is_after_clipping(tmp_path: Path) -> None:
    class Long(Nearly):
        name = "long"
        factor = 50.0

        def weights_before(self) -> list[float]:
            return [self.factor * w for w in super().weights_before()]

    class Short(Long):
        name = "short"
        factor = 0.01

    def entries(method: MultitaskOptimizer, place: str) -> list[Any]:
        job = trainer(tmp_path / place, method, steps=1, settings=config(clip_norm="naive", log_every=1))
        job.run()
        return job.journal.entries

    (naive,) = entries(get_optimizer("naive")(), "naive")
    limit = min(naive["norm_before_clip"], CLIP_NORM)
    assert naive["norm_after_clip"] == limit and naive["clipped"] is (naive["norm_before_clip"] > CLIP_NORM)
    (long,) = entries(Long(), "long")
    assert long["clipped"] and long["norm_after_clip"] == limit
    (short,) = entries(Short(), "short")
    assert not short["clipped"] and short["norm_after_clip"] == short["norm_before_clip"] < limit


def test_naive_itself_is_clipped_at_one_with_clip_norm_naive(tmp_path: Path) -> None:
    plain, first = trained(tmp_path / "a", "naive", 8, settings=config(clip_norm=1.0))
    other, second = trained(tmp_path / "b", "naive", 8, settings=config(clip_norm="naive"))
    assert torch.equal(plain, other) and first["clipped_share"] == second["clipped_share"]


def test_the_share_of_clipped_steps_is_that_of_all_steps(tmp_path: Path) -> None:
    every = trainer(tmp_path / "a", "naive", steps=8, settings=config(clip_norm=0.5, log_every=1))
    share = every.run()["clipped_share"]
    clipped = [e["clipped"] for e in every.journal.entries]
    assert share == round(sum(clipped) / 8, 4) and share > 0
    few = trainer(tmp_path / "b", "naive", steps=8, settings=config(clip_norm=0.5, log_every=8))
    assert few.run()["clipped_share"] == share


def test_largest_norms() -> None:
    assert largest_norm(0.0, 3.0) == math.inf and largest_norm(0.25, 3.0) == 0.25
    assert largest_norm("naive", 3.0) == CLIP_NORM and largest_norm("naive", 0.25) == 0.25
    assert largest_norm("naive", math.inf) == CLIP_NORM
    update = torch.tensor([3.0, 4.0])
    assert not clip(update, 5.0, 5.0) and not clip(update, 5.0, math.inf)
    assert clip(update, 5.0, 1.0) and torch.allclose(update, torch.tensor([0.6, 0.8]))


def test_a_naive_step_of_nothing_has_no_relative_difference(tmp_path: Path) -> None:
    job = trainer(tmp_path, "naive", steps=1)
    nothing = torch.zeros_like(job.update)
    job.update.zero_()
    assert step_difference(job.base.optimizers[0], nothing, job.shard) == 0.0
    job.update.fill_(1.0)
    assert step_difference(job.base.optimizers[0], nothing, job.shard) is None
