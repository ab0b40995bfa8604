"""What every method must survive, and where the methods with a guarantee end up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gram_cases import family, start, weights
from torch import Tensor

from mtbench.registry import entries, get_optimizer
from optimizers.mgda import shortest

NAMES = sorted(name for name, entry in entries("optimizer").items() if entry.builtin)
GRAM = [name for name in NAMES if get_optimizer(name).cost == "gram"]


def hard_inputs() -> dict[str, Tensor]:
    """Gradients that break careless code; float64, exact in float32 but for the largest."""
    ordinary = family("random", 0).float().double()
    one_zero, large, late = ordinary.clone(), ordinary.clone(), torch.zeros_like(ordinary)
    one_zero[2] = 0
    large[1] *= 1e4
    late[:, -1] = 1
    return {
        "zeros": torch.zeros_like(ordinary),
        "one zero row": one_zero,
        "1e-10": ordinary * 1e-10,
        "1e-30": ordinary * 1e-30,
        "1e15": ordinary * 1e15,
        "one 10,000 times larger": large,
        "one 1e12 times smaller": ordinary * torch.tensor([[1.0], [1.0], [1e-12], [1.0]], dtype=torch.float64),
        "one task": ordinary[:1],
        "identical": ordinary[:1].repeat(4, 1),
        "identical pairs": ordinary[[0, 0, 1, 1]],
        "exactly opposed": torch.stack([ordinary[0], -ordinary[0]]),
        "opposed and equal": torch.stack([ordinary[0], -ordinary[0], ordinary[0], -2 * ordinary[0]]),
        "sum to zero": torch.cat([ordinary[:3], -ordinary[:3].sum(0, keepdim=True)]),
        "orthogonal": torch.eye(4, 30, dtype=torch.float64),
        "all in one coordinate": late,
        "more tasks than numbers": torch.cat([ordinary[:, :3]] * 5),
        "one number": ordinary[:, :1],
        "twenty tasks": family("random", 1, num_tasks=20),
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
@pytest.mark.parametrize("what", sorted(hard_inputs()))
@pytest.mark.parametrize("name", NAMES)
def test_hard_inputs_give_finite_updates(name: str, what: str, dtype: torch.dtype) -> None:
    gradients = hard_inputs()[what].to(dtype)
    opt = get_optimizer(name)()
    theta, sizes = torch.linspace(0.5, 2, gradients.shape[1], dtype=dtype), [10] * len(gradients)
    opt.start(theta, len(gradients), total_steps=10, task_sizes=sizes)
    more: Any = {"gradient_at": lambda k, offset, draw=0: (gradients[k] + offset, 1.0)} if opt.perturbs else {}
    for step in range(3):
        update = opt.combine(gradients, torch.linspace(1, 2, len(gradients)) / (1 + step), **more)
        assert torch.isfinite(update).all()
        assert update.dtype == dtype
        assert np.isfinite(weights(opt)).all()
        assert len(weights(opt)) == len(gradients)
    assert opt.skipped_steps == 0
    if not (name == "imtl_g" and what in ("exactly opposed", "sum to zero")):  # there it has no solution
        assert opt.report().get("solver_fallbacks", 0) == 0


@pytest.mark.parametrize("factor", [1e-10, 1e-5, 1e15])
@pytest.mark.parametrize("what", ["one zero row", "one 10,000 times larger", "identical pairs", "twenty tasks"])
@pytest.mark.parametrize("name", GRAM)
def test_hard_inputs_have_no_scale(name: str, what: str, factor: float) -> None:
    gradients = hard_inputs()[what]
    plain, scaled = (start(get_optimizer(name), *gradients.shape) for _ in range(2))
    for _ in range(3):
        expected = plain.combine(gradients, torch.ones(len(gradients)))
        update = scaled.combine(gradients * factor, torch.ones(len(gradients)))
        if name == "fairgrad":  # the length goes with a power of the scale and is clipped
            update, expected = update / update.norm(), expected / expected.norm()
        size = factor if name not in ("nash", "fairgrad") else 1.0
        torch.testing.assert_close(update / size, expected, rtol=1e-6, atol=1e-7 * float(expected.abs().max()))


@pytest.mark.parametrize("name", GRAM)
def test_no_gradients_at_all_means_uniform_weights(name: str) -> None:
    opt = start(get_optimizer(name), 4, 30)
    opt.combine(torch.zeros(4, 30, dtype=torch.float64), torch.ones(4))
    np.testing.assert_allclose(weights(opt) / weights(opt).sum(), 0.25)


class Quadratics:
    """L_k = (x - m_k)' A_k (x - m_k) / 2 for two tasks; the Pareto set is {x : some convex combination of the
    gradients is 0}, a curve between the two minima.
    """

    matrices = torch.tensor([[[1.0, 0.3], [0.3, 2.0]], [[3.0, -0.5], [-0.5, 0.5]]], dtype=torch.float64)
    minima = torch.tensor([[-1.0, 0.5], [1.5, 1.0]], dtype=torch.float64)

    def gradients(self, x: Tensor) -> Tensor:
        return torch.einsum("kij,kj->ki", self.matrices, x - self.minima)

    def losses(self, x: Tensor) -> Tensor:
        return 0.5 * ((x - self.minima) * self.gradients(x)).sum(1)

    def distance_from_stationarity(self, x: Tensor) -> float:
        """|shortest vector in the hull| beside the longer gradient: 0 exactly on the Pareto set."""
        rows = self.gradients(x).numpy()
        w = shortest(rows @ rows.T)
        return float(np.linalg.norm(w @ rows) / np.linalg.norm(rows, axis=1).max())


@pytest.mark.parametrize("begin", [(4.0, -3.0), (-3.0, 3.0), (0.5, 4.0)])
@pytest.mark.parametrize("name", ["mgda", "cagrad", "nash", "upgrad"])
def test_convex_quadratics_end_on_the_pareto_set(name: str, begin: tuple[float, float]) -> None:
    problem, x = Quadratics(), torch.tensor(begin, dtype=torch.float64)
    opt = start(get_optimizer(name), 2, 2)
    assert problem.distance_from_stationarity(x) > 0.1
    goal = 2e-2 if name == "nash" else 1e-4
    for step in range(600):
        if problem.distance_from_stationarity(x) < goal:
            return
        # Nash's update never shrinks, so its steps must
        rate = 0.2 if name != "nash" else 1.0 / (1 + 0.05 * step) ** 1.5
        x = x - rate * opt.combine(problem.gradients(x), problem.losses(x))
    pytest.fail(f"after 600 steps {problem.distance_from_stationarity(x):.2g} from the Pareto set")


@pytest.mark.parametrize(("name", "params"), [("mgda", {}), ("upgrad", {"regularization": 1e-9})])
def test_small_steps_raise_no_loss(name: str, params: dict[str, float]) -> None:
    problem, x = Quadratics(), torch.tensor([4.0, -3.0], dtype=torch.float64)
    opt = start(get_optimizer(name), 2, 2, **params)
    for _ in range(300):
        before = problem.losses(x)
        x = x - 0.05 * opt.combine(problem.gradients(x), before)
        assert (problem.losses(x) <= before + 1e-5).all()


def test_the_plain_mean_of_unequal_quadratics_raises_one_loss() -> None:
    """The property above is one: naive does not have it."""
    problem, x = Quadratics(), torch.tensor([1.4, 0.9], dtype=torch.float64)
    before = problem.losses(x)
    after = problem.losses(x - 0.05 * start(get_optimizer("naive"), 2, 2).combine(problem.gradients(x), before))
    assert (after > before).any()
