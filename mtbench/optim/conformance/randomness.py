"""Random methods: distributions of updates, draws that are new in every step, one draw a step."""

from __future__ import annotations

import numpy as np
import torch

from mtbench.optim.conformance.bench import (
    SIZE,
    Step,
    Subject,
    ViolationError,
    after_step,
    conflicting_steps,
    distance,
    draw_order,
    hooks,
    require_equal,
    run,
)
from mtbench.optim.contract import MultitaskOptimizer

ORDER = [2, 0, 3, 1]
SEEDS, DRAWN = 300, 3
"""Runs, and steps of each."""
SIGMAS = 5.0


def draws(subject: Subject) -> str:
    """Updates have the same distribution whatever the tasks' order; draws are new and independent in every step."""
    if not subject.cls.random:
        _looking_changes_nothing(subject)
        return "declares no randomness; looking at its properties changes nothing"
    usual = _projections(subject, None, 0)
    if (usual.std(axis=0) <= 1e-9 * np.abs(usual).max()).all():
        raise ViolationError(f"declares random = True, but {SEEDS} seeds give one update: is self.generator used?")
    _new_in_every_step(subject)
    _independent(usual)
    _same_distribution(usual, _projections(subject, ORDER, SEEDS))
    _looking_changes_nothing(subject)
    return f"over {SEEDS} seeds the updates' distribution does not depend on the tasks' order; steps are independent"


def _projections(subject: Subject, order: list[int] | None, first_seed: int) -> np.ndarray:
    """(seeds, steps, directions): the updates along fixed directions. Every step has the same gradients."""
    gradients, losses = _star()
    rows = gradients if order is None else gradients[order]
    values = losses if order is None else losses[order]
    along = torch.cat([torch.from_numpy(np.random.default_rng(6).normal(size=(2, SIZE))), gradients[:2]]).t()
    found = []
    for seed in range(first_seed, first_seed + SEEDS):
        opt = subject.start(seed=seed, order=order)
        found.append(torch.stack(run(opt, [(rows, values)] * DRAWN)) @ along)
    return torch.stack(found).numpy()


def _star() -> Step:
    """Gradients of all lengths that lie around a plane, each in conflict with two others: an order of tasks matters."""
    rng = np.random.default_rng(9)
    angles, lengths = np.array([0.0, 1.9, 3.5, 5.2]), np.array([0.5, 1.0, 1.5, 2.0])
    plane = np.stack([np.cos(angles), np.sin(angles)], axis=1) @ rng.normal(size=(2, SIZE))
    rows = lengths[:, None] * (plane + 0.1 * rng.normal(size=plane.shape))
    return torch.from_numpy(rows), torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)


def _same_distribution(usual: np.ndarray, turned: np.ndarray) -> None:
    for name in ("mean", "variance"):
        one = usual if name == "mean" else (usual - usual.mean(0)) ** 2
        other = turned if name == "mean" else (turned - turned.mean(0)) ** 2
        means = one.mean(0), other.mean(0)
        error = np.sqrt((one.var(0) + other.var(0)) / SEEDS)
        beyond = np.abs(means[0] - means[1]) - SIGMAS * error - 1e-9 * np.abs(means[0]).max()
        if (beyond > 0).any():
            step, i = np.unravel_index(int(beyond.argmax()), beyond.shape)
            raise ViolationError(
                f"step {step}: permuting the tasks changes the {name} of the update along direction {i} from "
                f"{means[0][step, i]:.5g} to {means[1][step, i]:.5g}, more than {SIGMAS:g} standard errors of "
                f"{error[step, i]:.2g} over {SEEDS} seeds: draws are not alike for all tasks"
            )


def _new_in_every_step(subject: Subject, steps: int = 8) -> None:
    opt, one = subject.start(), _star()
    updates = run(opt, [one] * steps)
    if all(distance(u, updates[0]) <= 1e-9 for u in updates):
        raise ViolationError(
            f"{steps} steps on the same gradients give one update, coordinate 0 is {float(updates[0][0]):.6g} in all: "
            "draw anew in every step, not from a generator that starts again"
        )


def _independent(found: np.ndarray) -> None:
    """Across seeds, a step's update says nothing about the next one's."""
    for step in range(1, found.shape[1]):
        before, now = found[:, step - 1], found[:, step]
        for i in range(found.shape[2]):
            if min(before[:, i].std(), now[:, i].std()) == 0:
                continue
            r = float(np.corrcoef(before[:, i], now[:, i])[0, 1])
            if abs(r) > SIGMAS / np.sqrt(SEEDS):
                raise ViolationError(
                    f"the updates of steps {step - 1} and {step} are correlated over {SEEDS} seeds: {r:.2f}, expected "
                    f"within {SIGMAS / np.sqrt(SEEDS):.2f} of 0: draws of one step are used again in the next"
                )


def _looking_changes_nothing(subject: Subject) -> None:
    """Properties are read as often as one likes: one draw a step."""
    stream = conflicting_steps(steps=6)
    quiet = run(subject.start(), stream)
    opt = subject.start()
    for step, (gradients, losses) in enumerate(stream):
        if step:
            _look(opt)
        opt.begin_step(step, losses.tolist(), **hooks(opt, gradients, losses))
        for draw in draw_order(opt):
            for k, row in enumerate(gradients):
                opt.task(k, row.clone(), losses[k], draw)
                if step:
                    _look(opt)
        out = torch.empty_like(gradients[0])
        opt.finish(out)
        after_step(opt, losses)
        what = f"step {step} of a run whose properties and report are read again and again, against one left alone"
        require_equal(out, quiet[step], 1e-12, what, "a property draws or counts: do that once a step")


def _look(opt: MultitaskOptimizer) -> None:
    for name in ("needs_losses", "uses_after_step", "chooses_batches", "params"):
        getattr(opt, name)
    for call in (opt.report, opt.counts, opt.state_dict, opt.state_bytes, opt.importances, opt.shares):
        call()
