"""The contract's examples, as a user writes them: ``mypy --strict`` reads this file, and a test runs it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

import mtbench
from mtbench import (
    GradientCombining,
    GramWeighting,
    LossWeighting,
    MultitaskOptimizer,
    Suite,
    SuiteDefinition,
    Task,
    get_optimizer,
    get_suite,
    hyper,
    run,
)


class Louder(LossWeighting):
    """Weights that grow with the losses."""

    name = "louder"
    summary = "weights proportional to a power of the losses"
    power: float = hyper(1.0, ge=0, help="0: uniform")

    def weights_from_losses(self, losses: np.ndarray) -> np.ndarray:
        weights: np.ndarray = losses**self.power / (losses**self.power).sum()
        return weights


class EqualNorms(GramWeighting):
    """Every task pulls equally hard."""

    name = "equal_norms"
    summary = "weights inversely proportional to the gradients' norms"

    def weights_from_gram(self, gram: np.ndarray, losses: np.ndarray) -> list[float]:
        inverse = [1.0 / float(gram[k, k]) ** 0.5 for k in range(len(losses))]
        return [value / sum(inverse) for value in inverse]


class Halves(GradientCombining):
    """Half of the mean."""

    name = "halves"
    summary = "half of the mean gradient"
    rescales = True

    def combine_gradients(self, gradients: torch.Tensor, losses: np.ndarray) -> torch.Tensor:
        return gradients.mean(0) / 2


def whole_steps(opt: MultitaskOptimizer) -> torch.Tensor:
    """Two steps at once and one task by task, on three tasks and four parameters."""
    theta, gradients, losses = torch.zeros(4), torch.eye(3, 4) + 0.5, torch.ones(3)
    opt.start(theta, num_tasks=3, total_steps=10, seed=0, task_sizes=None, layout=[("w", 0, 4)], episode=0)
    for _ in range(2):
        theta -= 0.1 * opt.combine(gradients, losses)
    before: list[float] | None = opt.weights_before()
    assert before is None or len(before) == 3
    opt.begin_step(2)
    for k in range(3):
        opt.task(k, gradients[k], losses[k])
    out = torch.empty(4)
    counts: bool = opt.finish(out)
    assert counts
    state = opt.state_dict()
    opt.load_state_dict(state)
    weights = opt.report()["weights"]
    assert len(weights) == 3
    return out


def methods() -> list[MultitaskOptimizer]:
    """One by its registered name, and the three ways to write one."""
    cls = get_optimizer("tsage")
    assert (cls.name, cls.shardable) == ("tsage", True) and "TACL" in cls.paper and cls.summary
    return [cls(tau=2.0, beta=0.999), Louder(power=2.0), EqualNorms(), Halves(scale="sum")]


def suites(root: Path) -> list[str]:
    """Declarations need no data."""
    definition: type[SuiteDefinition] = get_suite("kilt")
    suite: Suite = definition().suite(root, "mini")
    tasks: tuple[Task, ...] = suite.tasks
    return [task.name for task in tasks]


def runs(suite: Path, home: Path, settings: Mapping[str, object]) -> dict[str, float | None]:
    """Averages by run id."""
    records = run("naive", suite, set=settings, baselines=(), store=home / "store", results=home / "results")
    more = run(["naive", "tsage"], str(suite), seeds=[0, 1], set=[f"{k}={v}" for k, v in settings.items()],
               baselines=(), until="bm25", store=home / "store", results=home / "results")  # fmt: skip
    assert len(more) == 4
    board = mtbench.leaderboard(suite, results=home / "results")
    assert mtbench.records(home / "results").shape[0] >= len(board) == 2
    assert mtbench.__version__
    return {record["run_id"]: record.get("average") for record in records}
