"""The second set of methods: worked numbers, long trajectories against the plain equations, and what each is about."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import statements
import torch
from gram_cases import family, start, weights
from optimizer_cases import random_gradients
from torch import Tensor

from mtbench.errors import ConfigError
from mtbench.optim.simplex import project_to_simplex
from mtbench.registry import get_optimizer
from optimizers.fairgrad import FairGrad, fair_shares
from optimizers.go4align import group_means
from optimizers.graddrop import GradDrop, uniform_of
from optimizers.rlw import RandomWeighting

HOOKED = {"static", "sdmgrad", "fmtl"}
"""Methods whose examples need hooks of the contract; they are tested in files of their own."""


def cases(specs: Path) -> dict[str, Any]:
    content = json.loads((specs / "optimizer_examples_2.json").read_text(encoding="utf-8"))
    return {case["id"]: case for case in content["checks"]}


EXAMPLES = {
    "fairgrad": ("1", "2", "3", "4"),
    "stch": ("1", "missing", "zeros"),
    "groupdro": ("1", "2", "missing"),
    "idro": ("1",),
    "dbmtl": ("1", "missing", "zeros"),
    "excessmtl": ("1", "missing"),
    "go4align": ("1", "2", "zeros"),
    "gls": ("1", "zeros"),
    "imtl_l": ("1",),
    "moco": ("1",),
}
IDS = [f"{name}_{which}" for name, found in EXAMPLES.items() for which in found]


def test_every_example_is_tried(specs: Path) -> None:
    mine = {case["id"] for case in cases(specs).values() if case["optimizer"] not in HOOKED}
    assert mine - {"rlw_1", "graddrop_1"} == set(IDS)


@pytest.mark.parametrize("identifier", IDS)
def test_worked_example(specs: Path, identifier: str) -> None:
    case = cases(specs)[identifier]
    inputs = case["inputs"]
    size = len(next(row for row in inputs["G_seq"][0] if row is not None))
    opt = get_optimizer(case["optimizer"])(**inputs["hyperparameters"])
    opt.start(torch.zeros(size, dtype=torch.float64), len(inputs["G_seq"][0]), 100, **inputs["start"])
    steps = zip(inputs["G_seq"], inputs["loss_seq"], case["expected"]["steps"], strict=True)
    for number, (rows, losses, expected) in enumerate(steps):
        out = torch.empty(size, dtype=torch.float64)
        opt.begin_step(number)
        for k, row in enumerate(rows):
            if row is not None:
                opt.task(k, torch.tensor(row, dtype=torch.float64), losses[k])
        assert opt.finish(out)
        tolerance = case["tolerance"] * max(1.0, np.abs(expected["update"]).max())
        np.testing.assert_allclose(out.numpy(), expected["update"], rtol=0, atol=tolerance)
        if "weights" in expected:
            most = max(1.0, max(abs(w) for w in expected["weights"] if w is not None))
            wanted = [0.0 if w is None else w for w in expected["weights"]]
            np.testing.assert_allclose(opt.report()["weights"], wanted, rtol=0, atol=case["tolerance"] * most)


TRAJECTORIES: dict[str, dict[str, Any]] = {
    "groupdro": {"step": 0.05},
    "stch": {"mu": 0.4, "warmup_steps": 20},
    "imtl_l": {"lr": 0.1},
    "idro": {"step": 0.4, "loss_power": 0.3, "memory": 0.95, "floor": 0.02},
    "dbmtl": {"beta": 0.9, "decay": 0.3},
    "excessmtl": {"step": 0.02, "reference_steps": 3},
    "go4align": {"step": 0.02, "groups": 3},
    "moco": {"beta": 0.7, "gamma": 0.3, "beta_decay": 0.2, "gamma_decay": 0.1, "rho": 0.05},
}


def run_of(seed: int, steps: int = 200, num_tasks: int = 5, size: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Noisy gradients around drifting means, and losses that fall at their own rates."""
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(num_tasks, size)) * rng.uniform(0.2, 3, size=(num_tasks, 1))
    fall = np.exp(-np.linspace(0, 1, steps)[:, None] * rng.uniform(0, 3, size=num_tasks))
    losses = rng.uniform(0.5, 4, size=num_tasks) * fall * rng.uniform(0.8, 1.2, size=(steps, num_tasks))
    return fall[:, :, None] * means + rng.normal(size=(steps, num_tasks, size)), losses


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", sorted(TRAJECTORIES))
def test_two_hundred_steps_equal_the_plain_equations(name: str, seed: int) -> None:
    gradients, losses = run_of(seed)
    expected = getattr(statements, name)(gradients, losses, **TRAJECTORIES[name])
    opt = start(get_optimizer(name), *gradients.shape[1:], **TRAJECTORIES[name])
    for g, loss, wanted in zip(gradients, losses, expected, strict=True):
        update = opt.combine(torch.from_numpy(g), torch.from_numpy(loss)).numpy()
        np.testing.assert_allclose(update, wanted, rtol=0, atol=1e-9 * max(1.0, np.abs(wanted).max()))


def test_rlw_turns_its_draws_into_weights(specs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = cases(specs)["rlw_1"]

    class Given:
        def standard_normal(self, n: int) -> np.ndarray:
            return np.asarray(case["inputs"]["z"])

    monkeypatch.setattr("optimizers.rlw.np.random.default_rng", lambda key: Given())
    opt = RandomWeighting()
    opt.num_tasks, opt.key, opt.steps = len(case["inputs"]["z"]), 0, 0
    np.testing.assert_allclose(opt.weights_before(), case["expected"]["normal_weights"], atol=1e-12)


@pytest.mark.parametrize("distribution", ["normal", "dirichlet"])
def test_rlw_draws_new_weights_a_step_of_mean_one_kth(distribution: str) -> None:
    opt = start(RandomWeighting, 4, 3, distribution=distribution)
    found = []
    for _ in range(4000):
        opt.combine(torch.ones(4, 3, dtype=torch.float64), torch.ones(4))
        found.append(weights(opt))
    table = np.asarray(found)
    assert (table[1:] != table[:-1]).all()
    np.testing.assert_allclose(table.sum(axis=1), 1.0)
    np.testing.assert_allclose(table.mean(axis=0), 0.25, atol=4 * table.std() / np.sqrt(4000))
    correlation = np.corrcoef(table[1:, 0], table[:-1, 0])[0, 1]
    assert abs(correlation) < 0.06


def test_rlw_looks_at_its_weights_as_often_as_it_likes() -> None:
    once, often = (start(RandomWeighting, 3, 2) for _ in range(2))
    for _ in range(5):
        assert often.weights_before() == often.weights_before()
        rows = torch.eye(3, 2, dtype=torch.float64)
        torch.testing.assert_close(once.combine(rows, torch.ones(3)), often.combine(rows, torch.ones(3)))


def test_stch_is_static_at_mu_one() -> None:
    gradients, losses = run_of(0, steps=60)
    opt = start(get_optimizer("stch"), *gradients.shape[1:], mu=1.0, warmup_steps=10)
    shares = []
    for g, loss in zip(gradients, losses, strict=True):
        opt.combine(torch.from_numpy(g), torch.from_numpy(loss))
        shares.append(weights(opt) / weights(opt).sum())
    np.testing.assert_allclose(shares[10:], np.broadcast_to(shares[10], (50, 5)), rtol=1e-9)
    nadir = losses[:10].mean(axis=0)
    np.testing.assert_allclose(shares[-1], 1 / nadir / (1 / nadir).sum(), rtol=1e-9)


def test_groupdro_survives_what_would_overflow_and_names_missing_sizes() -> None:
    opt = start(get_optimizer("groupdro"), 3, 2, step=10.0)
    for _ in range(20):
        update = opt.combine(torch.eye(3, 2, dtype=torch.float64), torch.tensor([100.0, 99.0, 1e30]))
        assert torch.isfinite(update).all()
    with pytest.raises(ConfigError, match="task_sizes"):
        start(get_optimizer("groupdro"), 3, 2, adjustment=1.0)


def test_idro_with_full_memory_is_cgd_one_step_late() -> None:
    gradients, losses = run_of(4, steps=30)
    late = start(get_optimizer("idro"), 5, 7, step=0.2, floor=0.0)
    now = start(get_optimizer("cgd"), 5, 7, step=0.2, floor=0.0)
    before = np.full(5, 0.2)
    for g, loss in zip(gradients, losses, strict=True):
        for opt in (late, now):
            opt.combine(torch.from_numpy(g), torch.from_numpy(loss))
        np.testing.assert_allclose(weights(late), before, rtol=1e-9)
        before = weights(now)


@pytest.mark.parametrize("alpha", [0.25, 0.5, 1.0, 2.0, 5.0, 100.0])
@pytest.mark.parametrize("kind", ["random", "near_parallel", "rank_deficient", "tiny"])
def test_fairgrad_solves_its_equation(kind: str, alpha: float) -> None:
    gradients = family(kind, 1)
    opt = start(FairGrad, 4, 30, alpha=alpha, max_norm=0.0)
    u = opt.combine(gradients, torch.ones(4))
    w = weights(opt)
    assert (w > 0).all() and opt.report()["solver_fallbacks"] == 0
    np.testing.assert_allclose((gradients @ u).numpy() * w ** (1 / alpha), 1.0, rtol=1e-6)


def test_fairgrad_at_one_is_nash() -> None:
    gradients = family("random", 2)
    mine = start(FairGrad, 4, 30, alpha=1.0, max_norm=0.0).combine(gradients, torch.ones(4))
    nash = start(get_optimizer("nash"), 4, 30, max_norm=0.0).combine(gradients, torch.ones(4))
    torch.testing.assert_close(mine, nash, rtol=1e-7, atol=1e-9)


def test_fairgrad_on_opposed_tasks_stays_finite_and_short() -> None:
    g = family("random", 0)[0]
    opt = start(FairGrad, 2, 30, max_norm=0.0)
    u = opt.combine(torch.stack([g, -g]), torch.ones(2))
    assert torch.isfinite(u).all() and float(u.norm()) < 1e-2 * float(g.norm())


@pytest.mark.parametrize("seed", range(5))
def test_fair_shares_with_stakes_of_all_sizes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(6, 40))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    stakes = 10.0 ** rng.uniform(-12, 0, size=6)
    v, converged = fair_shares(rows @ rows.T, stakes, 2.0)
    assert converged
    np.testing.assert_allclose(rows @ rows.T @ v * np.sqrt(v) / stakes, 1.0, rtol=1e-6)


def test_graddrop_keeps_one_sign_with_the_chance_of_its_share(specs: Path) -> None:
    case = cases(specs)["graddrop_1"]
    rows = torch.tensor(case["inputs"]["G"], dtype=torch.float64)
    opt = start(GradDrop, *rows.shape)
    expected = {name: np.asarray(case["expected"][name]) for name in ("purity", "positive", "negative", "mean")}
    steps = 4000
    kept = np.zeros(rows.shape[1])
    for _ in range(steps):
        update = opt.combine(rows, torch.ones(len(rows))).numpy()
        up = np.isclose(update, expected["positive"], atol=1e-12)
        assert (up | np.isclose(update, expected["negative"], atol=1e-12)).all()
        kept += up
    same = np.isclose(expected["positive"], expected["negative"])
    error = np.sqrt(expected["purity"] * (1 - expected["purity"]) / steps)
    assert (np.abs(kept / steps - expected["purity"])[~same] <= 4.5 * error[~same] + 1e-12).all()
    leaky = start(GradDrop, *rows.shape, leak=1.0).combine(rows, torch.ones(len(rows)))
    np.testing.assert_allclose(leaky.numpy(), expected["mean"], atol=1e-12)


def test_graddrop_draws_the_same_for_a_slice() -> None:
    rows = family("random", 3)
    whole = start(GradDrop, 4, 30).combine(rows, torch.ones(4))
    part = start(GradDrop, 4, 13)
    part.offset = 11
    torch.testing.assert_close(part.combine(rows[:, 11:24], torch.ones(4)), whole[11:24])


def test_graddrop_draws_are_uniform_and_independent() -> None:
    draws = torch.stack([uniform_of(key, 0, 20_000, torch.device("cpu")) for key in (1, 2)]).numpy()
    assert draws.min() >= 0 and draws.max() < 1
    histogram = np.histogram(draws[0], bins=20, range=(0, 1))[0]
    assert ((histogram - 1000) ** 2 / 1000).sum() < 45  # chi-squared, 19 degrees, p = .0007
    for a, b in ((draws[0], draws[1]), (draws[0][1:], draws[0][:-1])):
        assert abs(np.corrcoef(a, b)[0, 1]) < 0.03


def test_group_means_of_ties_takes_the_smaller_first_group() -> None:
    np.testing.assert_allclose(group_means(np.array([3.0, 1.0, 2.0]), 2), [2.5, 1.0, 2.5])
    np.testing.assert_allclose(group_means(np.array([1.0, 1.0, 1.0]), 2), 1.0)
    np.testing.assert_allclose(group_means(np.array([5.0, 0.0, 0.1, 5.2]), 2), [5.1, 0.05, 0.05, 5.1])


@pytest.mark.parametrize("seed", range(4))
def test_projection_is_the_nearest_point_of_the_simplex(seed: int) -> None:
    point = np.random.default_rng(seed).normal(size=6) * 3
    np.testing.assert_allclose(project_to_simplex(point), statements.nearest_on_simplex(point), atol=1e-12)


ODD: list[list[float]] = [[0.0, 0.0, 0.0], [0.0, 1.0, 2.0], [-3.0, 1.0, 2.0], [1e30, 1.0, 1e-30]]


@pytest.mark.parametrize("losses", ODD)
@pytest.mark.parametrize("name", sorted({*TRAJECTORIES, "gls", "rlw", "fairgrad", "graddrop"}))
def test_odd_losses_do_no_lasting_harm(name: str, losses: list[float]) -> None:
    opt = start(get_optimizer(name), 3, 30)
    rows = family("random", 5, num_tasks=3)
    given: Callable[[list[float]], Tensor] = lambda values: torch.tensor(values, dtype=torch.float64)  # noqa: E731
    for _ in range(3):
        assert torch.isfinite(opt.combine(rows, given(losses))).all()
    for _ in range(20):
        assert torch.isfinite(opt.combine(rows, given([1.0, 2.0, 0.5]))).all()
        assert np.isfinite(weights(opt)).all()


def test_moco_moves_to_a_task_that_never_has_a_gradient() -> None:
    opt = get_optimizer("moco")()
    opt.start(torch.zeros(40, dtype=torch.float64), 4, 300)
    for seed in range(300):
        gradients = random_gradients(4, 40, seed) + 1
        gradients[2] = 0
        opt.combine(gradients, torch.ones(4))
    assert opt.report()["weights"][2] > 0.5 and "most of the weight" in get_optimizer("moco").frozen_task
