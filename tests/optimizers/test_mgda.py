"""MGDA: worked numbers, the conditions of optimality, brute force, a peer."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from gram_cases import FAMILIES, close, family, gram, peer, start, update, weights
from optimizer_cases import examples

from optimizers.mgda import MGDA, shortest


def test_worked_example(specs: Any) -> None:
    case = examples(specs)["mgda_1"]
    close(update(MGDA, case["inputs"]["G"]), case["expected"]["update"])
    np.testing.assert_allclose(shortest(gram(case["inputs"]["G"])), case["expected"]["weights"], rtol=1e-9)


def brute_force(matrix: np.ndarray) -> float:
    """The smallest squared length over all faces of the simplex."""
    best = np.inf
    for size in range(1, len(matrix) + 1):
        for face in itertools.combinations(range(len(matrix)), size):
            w = np.linalg.lstsq(matrix[np.ix_(face, face)], np.ones(size), rcond=None)[0]
            if w.sum() > 0 and (w / w.sum() > -1e-12).all():
                w = w / w.sum()
                best = min(best, float(w @ matrix[np.ix_(face, face)] @ w))
    return best


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", FAMILIES)
def test_no_face_of_the_simplex_has_a_shorter_vector(kind: str, seed: int) -> None:
    matrix = gram(family(kind, seed, num_tasks=6))
    w = shortest(matrix / np.diag(matrix).max())
    assert w.sum() == pytest.approx(1.0)
    assert w.min() >= 0
    found, best = w @ matrix @ w, brute_force(matrix)
    assert found <= best + 1e-12 * np.diag(matrix).max()


@pytest.mark.parametrize("num_tasks", [2, 8, 40])
def test_conditions_of_optimality(num_tasks: int) -> None:
    """u . g_k >= |u|^2 for all k, with equality where w_k > 0; also with lengths from 1 to 10,000."""
    rng = np.random.default_rng(num_tasks)
    rows = rng.normal(size=(num_tasks, 60)) + 0.3
    rows = torch.from_numpy(rows * np.exp(rng.uniform(0, np.log(1e4), size=(num_tasks, 1))))
    opt = start(MGDA, num_tasks, 60)
    u = opt.combine(rows, torch.ones(num_tasks))
    slack = (rows @ u / (u @ u) - 1).numpy()
    assert slack.min() > -1e-9
    assert np.abs(slack[weights(opt) > 0]).max() < 1e-9
    assert opt.report()["solver_fallbacks"] == 0


@pytest.mark.parametrize("kind", FAMILIES)
def test_agrees_with_torchjd_run_to_the_end(kind: str) -> None:
    gradients = family(kind, 1)
    theirs = peer().MGDA(epsilon=1e-12, max_iters=20_000)(gradients)
    ours = update(MGDA, gradients)
    # Frank-Wolfe approaches from above and slowly
    assert ours.norm() <= theirs.norm() * (1 + 1e-9)
    assert theirs.norm() <= ours.norm() * 1.01
    close(ours, theirs, 5e-2)


def test_the_peers_default_stops_early() -> None:
    """torchjd stops after 100 iterations of Frank-Wolfe; its vector is longer than the shortest one."""
    gradients = family("opposed", 0, num_tasks=6)
    theirs, ours = peer().MGDA()(gradients), update(MGDA, gradients)
    assert theirs.norm() > ours.norm() * (1 + 1e-5)


def test_a_stationary_task_makes_the_shortest_vector_zero() -> None:
    gradients = family("random", 0)
    gradients[[1, 2]] = 0
    opt = start(MGDA, 4, 30)
    assert not opt.combine(gradients, torch.ones(4)).any()
    assert weights(opt).tolist() == [0, 0.5, 0.5, 0]
    assert "shortest vector is 0" in MGDA.frozen_task


@pytest.mark.parametrize("normalize", ["l2", "loss", "loss+"])
def test_normalisation_acts_on_the_choice_of_weights_only(normalize: str) -> None:
    gradients, losses = family("random", 0), torch.tensor([0.5, 1.0, 2.0, 4.0], dtype=torch.float64)
    size = torch.ones(4, dtype=torch.float64)
    size = size * (gradients.norm(dim=1) if normalize in ("l2", "loss+") else 1)
    size = size * (losses if normalize in ("loss", "loss+") else 1)
    w = shortest(gram(gradients / size[:, None]))
    close(update(MGDA, gradients, losses, normalize=normalize), torch.from_numpy(w) @ gradients, 1e-9)


def test_a_failed_solver_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("Maximum number of iterations reached.")

    monkeypatch.setattr("optimizers.mgda.nnls", fail)
    opt = start(MGDA, 4, 30)
    close(opt.combine(family("random", 0), torch.ones(4)), family("random", 0).mean(0), 1e-14)
    assert opt.report()["solver_fallbacks"] == 1
