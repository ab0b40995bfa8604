"""Preferences: uniform ones are today's numbers to the bit, others are what the equations and a peer say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gram_cases import family, peer, start, weights
from torch import Tensor

from mtbench.errors import ConfigError
from mtbench.optim import MultitaskOptimizer
from mtbench.registry import get_optimizer

NAMES = ["naive", "upgrad", "aligned", "cagrad", "nash", "groupdro", "excessmtl"]
PREFERENCE = [3.0, 0.5, 1.0, 2.5]
SHARES = np.asarray(PREFERENCE) / 7


def make(name: str, **params: Any) -> MultitaskOptimizer:
    return start(get_optimizer(name), 4, 30, **params)  # type: ignore[no-any-return]


@pytest.mark.parametrize("preference", ["", "2,2,2,2", "*:0.3"])
@pytest.mark.parametrize("kind", ["random", "near_parallel", "rank_deficient", "tiny"])
@pytest.mark.parametrize("name", NAMES)
def test_equal_preferences_change_no_bit(name: str, kind: str, preference: str) -> None:
    losses = torch.linspace(0.5, 2, 4)
    plain, equal = make(name), make(name, preference=preference)
    for seed in range(3):
        assert torch.equal(plain.combine(family(kind, seed), losses), equal.combine(family(kind, seed), losses))


@pytest.mark.parametrize("name", NAMES)
def test_the_default_stays_out_of_specifications(name: str) -> None:
    from mtbench.pipeline.request import specified

    cls = get_optimizer(name)
    assert "preference" not in specified({"name": name, "params": cls().params})["params"]
    assert specified({"name": name, "params": cls(preference="a:2").params})["params"]["preference"] == "a:2"


def test_naive_multiplies_its_weights() -> None:
    assert weights_of("naive", preference=PREFERENCE) == pytest.approx(SHARES)
    opt = get_optimizer("naive")(weights="size", preference=[1, 0, 2, 1])
    opt.start(torch.zeros(30), 4, 10, task_sizes=[10, 20, 30, 40])
    opt.combine(torch.ones(4, 30), torch.ones(4))
    assert opt.report()["weights"] == pytest.approx([10 / 110, 0, 60 / 110, 40 / 110])


def weights_of(name: str, seed: int = 0, kind: str = "random", **params: Any) -> np.ndarray:
    opt = make(name, **params)
    opt.combine(family(kind, seed), torch.ones(4))
    return weights(opt)


@pytest.mark.parametrize("kind", ["random", "near_parallel"])
@pytest.mark.parametrize("seed", range(4))
def test_upgrad_and_aligned_agree_with_torchjd(kind: str, seed: int) -> None:
    torchjd = peer()
    gradients, vector = family(kind, seed), torch.tensor(SHARES, dtype=torch.float64)
    expected = torchjd.AlignedMTL(pref_vector=vector)(gradients)
    found = make("aligned", preference=PREFERENCE).combine(gradients, torch.ones(4))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-8)
    expected = torchjd.UPGrad(pref_vector=vector)(gradients)
    found = make("upgrad", preference=PREFERENCE).combine(gradients, torch.ones(4))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_upgrad_takes_each_gradient_s_share_at_least(seed: int) -> None:
    found = weights_of("upgrad", seed, preference=PREFERENCE)
    assert (found >= SHARES - 1e-12).all() and found.sum() > 1 - 1e-12


@pytest.mark.parametrize("preference", [PREFERENCE, [1e-4, 1, 1, 1], [1e4, 1, 1, 1], [1e-3, 1e3, 1, 1]])
@pytest.mark.parametrize("kind", ["random", "near_parallel", "tiny"])
def test_nash_solves_the_asymmetric_bargain(kind: str, preference: list[float]) -> None:
    gradients, opt = family(kind, 1), make("nash", preference=preference, max_norm=0.0)
    u = opt.combine(gradients, torch.ones(4))
    gains = (gradients @ u).numpy() * weights(opt)
    assert opt.report()["solver_fallbacks"] == 0
    np.testing.assert_allclose(gains, 4 * np.asarray(preference) / sum(preference), rtol=1e-5)
    assert float(u.norm()) == pytest.approx(2, rel=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_cagrad_finds_the_best_point_of_the_ball_around_the_preferred_mean(seed: int) -> None:
    gradients, c = family("random", seed).numpy(), 0.4
    u = make("cagrad", preference=PREFERENCE, c=c).combine(torch.from_numpy(gradients), torch.ones(4)).numpy()
    u = u * (1 + c**2)
    centre = SHARES @ gradients
    assert np.linalg.norm(u - centre) == pytest.approx(c * np.linalg.norm(centre), rel=1e-6)
    least = (gradients @ u).min()
    draws = np.random.default_rng(seed)
    for size in (1.0, 0.1, 1e-2, 1e-3):
        for _ in range(200):
            step = u - centre + size * np.linalg.norm(centre) * (draws.normal(size=4) @ gradients) / 10
            step *= min(1.0, c * np.linalg.norm(centre) / np.linalg.norm(step))
            assert (gradients @ (centre + step)).min() <= least + 1e-6 * abs(least) + 1e-9


def test_cagrad_without_radius_is_the_preferred_mean() -> None:
    assert weights_of("cagrad", preference=PREFERENCE, c=0.0) == pytest.approx(SHARES)


def test_shares_begin_at_the_preference() -> None:
    draws = np.random.default_rng(0)
    dro, q = make("groupdro", preference=PREFERENCE, step=0.1), SHARES
    for seed in range(20):
        losses = draws.uniform(0.1, 2, 4)
        dro.combine(family("random", seed), torch.from_numpy(losses))
        q = q * np.exp(0.1 * losses)
        q = q / q.sum()
        np.testing.assert_allclose(weights(dro), q, rtol=1e-9)
    assert weights_of("excessmtl", preference=PREFERENCE) == pytest.approx(SHARES)  # its first step moves nothing


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"nash"}))
def test_a_task_without_preference(name: str) -> None:
    opt = make(name, preference=[0, 1, 1, 2])
    for seed in range(5):
        update = opt.combine(family("random", seed), torch.linspace(0.5, 2, 4))
        assert torch.isfinite(update).all() and np.isfinite(weights(opt)).all()
        if name in ("naive", "groupdro", "excessmtl"):
            assert weights(opt)[0] == 0
    # alone it is as good as any: nothing else could be combined
    out = torch.empty(30, dtype=torch.float64)
    opt.begin_step(5)
    opt.task(0, family("random", 5)[0], 1.0)
    assert opt.finish(out) and torch.isfinite(out).all()


def test_a_missing_task_leaves_the_others_their_ratios() -> None:
    gradients: Tensor = family("random", 3)
    for name in ("upgrad", "aligned", "nash", "cagrad"):
        opt = make(name, preference=PREFERENCE)
        three = start(get_optimizer(name), 3, 30, preference=[PREFERENCE[k] for k in (0, 2, 3)])
        out = torch.empty(30, dtype=torch.float64)
        opt.begin_step(0)
        for k in (0, 2, 3):
            opt.task(k, gradients[k], 1.0)
        assert opt.finish(out)
        torch.testing.assert_close(out, three.combine(gradients[[0, 2, 3]], torch.ones(3)), rtol=1e-9, atol=1e-12)


def test_what_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"nash: preference: each must be float per task in \(0, inf\)"):
        make("nash", preference=[0, 1, 1, 1])
    with pytest.raises(ConfigError, match="upgrad: preference: every task has 0"):
        make("upgrad", preference="*:0")
