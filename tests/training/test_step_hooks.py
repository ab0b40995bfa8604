"""The loop with some of the tasks a step, several draws, batches by a method's shares, gradients at other points."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from training.test_loop import TASKS, StopHereError, config, examples, model

from mtbench.config import Config
from mtbench.errors import ConfigError, UsageError
from mtbench.optim import Cost, MultitaskOptimizer
from mtbench.registry import get_optimizer
from mtbench.training.batches import BatchOrder
from mtbench.training.examples import TrainingData
from mtbench.training.loop import Episode, Trainer
from mtbench.training.reading import check_draws, draw_sizes, sizes_by_share, stage_steps, tasks_of_step

COUNTS = (30, 12, 6)
OWN = {"encoder": {"sharing": "per-task-query"}}


def order(settings: Config) -> BatchOrder:
    rows = [np.arange(n) for n in COUNTS]
    return BatchOrder(TASKS, rows, settings.train.batch_size, settings.train.task_temperature, 0, 1)


def trainer(
    work: Path, method: str | MultitaskOptimizer = "naive", steps: int = 12, params: Any = None, **train: Any
) -> Trainer:
    settings = config(**{"cosines_every": 0, "log_every": 1, **train})
    chosen = method if isinstance(method, MultitaskOptimizer) else get_optimizer(method)(**(params or {}))
    data = TrainingData(examples(), order(settings), 0)
    return Trainer(model(settings), data, chosen, Episode(1, steps, 1e-2, 0), settings, work)


def batches_of(job: Trainer) -> list[dict[tuple[int, int], bytes]]:
    """What each step read, by task and draw; filled while ``job`` runs."""
    seen: list[dict[tuple[int, int], bytes]] = []
    read = job.reader.read

    def remember(step: int) -> Any:
        found = read(step)
        seen.append({key: batch.query_rows.tobytes() for key, batch in found.of.items()})
        return found

    job.reader.read = remember  # type: ignore[method-assign]
    return seen


# -- some of the tasks a step -----------------------------------------------------------------------------------------


def chosen_tasks(how: str, m: int, steps: int) -> list[list[int]]:
    settings = config(tasks_per_step=m, task_order=how)
    return [tasks_of_step(order(settings), step, settings.train) for step in range(steps)]


def test_tasks_take_turns() -> None:
    assert chosen_tasks("round_robin", 1, 4) == [[0], [1], [2], [0]]
    assert chosen_tasks("round_robin", 2, 3) == [[0, 1], [0, 2], [1, 2]]
    assert chosen_tasks("round_robin", 3, 2) == [[0, 1, 2]] * 2


@pytest.mark.parametrize("m", [1, 2])
def test_shuffled_takes_every_task_once_a_round(m: int) -> None:
    rounds = -(-3 // m)
    steps = chosen_tasks("shuffled", m, 40 * rounds)
    for start in range(0, len(steps), rounds):
        assert sorted(chain(*steps[start : start + rounds])) == [0, 1, 2]
    assert len({tuple(s) for s in steps[::rounds]}) > 1


def test_drawn_by_size_large_tasks_come_more_often() -> None:
    steps = chosen_tasks("shares", 1, 3000)
    shares = np.asarray(COUNTS) ** 0.25
    np.testing.assert_allclose(np.bincount(list(chain(*steps))) / 3000, shares / shares.sum(), atol=0.03)
    assert steps == chosen_tasks("shares", 1, 3000)


@pytest.mark.parametrize(
    ("how", "m", "steps"), [("round_robin", 1, 36), ("round_robin", 2, 18), ("shuffled", 2, 24), ("shares", 2, 18)]
)
def test_a_stage_is_as_much_longer_as_tasks_are_left_out(how: str, m: int, steps: int, tmp_path: Path) -> None:
    settings = config(tasks_per_step=m, task_order=how).train
    assert stage_steps(12, 3, settings) == steps and stage_steps(12, 1, settings) == 12
    assert stage_steps(12, 3, config().train) == 12
    if how == "shares":
        return
    alone = trainer(tmp_path / "a", steps=steps, tasks_per_step=m, task_order=how)
    together = trainer(tmp_path / "b", steps=12)
    assert alone.run()["queries"] == together.run()["queries"] == {"a": 48, "b": 36, "c": 24}


def test_a_task_reads_the_same_queries_whenever_it_is_its_turn(tmp_path: Path) -> None:
    together, alone = trainer(tmp_path / "a", steps=4), trainer(tmp_path / "b", steps=12, tasks_per_step=1)
    all_at_once, one_by_one = batches_of(together), batches_of(alone)
    together.run()
    alone.run()
    for k in range(3):
        assert [b[k, 0] for b in all_at_once] == [b[k, 0] for b in one_by_one if (k, 0) in b]


def test_alternating_naive_and_static_keep_their_weights(tmp_path: Path) -> None:
    """With one task a step naive takes its gradient and static K w_k times it: nothing is renormalised."""
    weights = {"weights": "a:3,b:1,c:2"}
    plain = trainer(tmp_path / "a", "naive", steps=6, tasks_per_step=1, clip_norm=0)
    fixed = trainer(tmp_path / "b", "static", steps=6, params=weights, tasks_per_step=1, clip_norm=0)
    for step, factor in enumerate([1.5, 0.5, 1.0] * 2):
        fixed.flat.theta.copy_(plain.flat.theta)
        plain._step(step)
        fixed._step(step)
        assert torch.allclose(fixed.update, factor * plain.update, rtol=1e-6, atol=0)
        assert fixed.optimizer.report()["weights"][step % 3] == pytest.approx(factor)
        assert np.count_nonzero(plain.optimizer.report()["weights"]) == 1
    entry = plain.journal.entries[4]
    assert entry["losses"]["a"] is None and entry["losses"]["b"] is not None and entry["gradient_norms"]["c"] is None


def test_what_belongs_to_an_absent_task_gets_no_gradient(tmp_path: Path) -> None:
    job = trainer(tmp_path, tasks_per_step=1, **OWN)
    for step in range(4):
        job._step(step)
        for k in range(3):
            own = job.update[slice(*job.flat.own_segment(k))]  # type: ignore[misc]
            assert bool(own.any()) is (k == step % 3)


def test_listeners_hear_of_the_tasks_of_the_step_alone(tmp_path: Path) -> None:
    heard: list[list[str]] = []
    trainer(tmp_path, steps=4, tasks_per_step=2).run(lambda done, total, losses: heard.append(list(losses)))
    assert heard == [["a", "b"], ["a", "c"], ["b", "c"], ["a", "b"]]


# -- several draws ----------------------------------------------------------------------------------------------------


class Recorder(MultitaskOptimizer):
    """Naive on draw 0, and a note of all that comes."""

    name = "recorder"
    summary = "for tests"
    cost: ClassVar[Cost] = "norms"
    draws = 3

    def open_step(self, losses: Sequence[float] | None) -> None:
        self.came: list[tuple[int, int]] = []
        self.rows: dict[tuple[int, int], torch.Tensor] = {}

    def add_draw(self, k: int, gradient: torch.Tensor, draw: int) -> None:
        self.came.append((k, draw))
        self.rows[k, draw] = gradient.clone()

    def add_task(self, k: int, gradient: torch.Tensor) -> None:
        self.add_draw(k, gradient, 0)

    def write_update(self, out: torch.Tensor) -> None:
        out.copy_(sum(self.rows[k, 0] for k in self.present) / len(self.present))
        self.set_report([1 / len(self.present)] * len(self.present))


def test_each_draw_is_a_batch_of_its_own_and_draw_0_comes_last(tmp_path: Path) -> None:
    job, plain = trainer(tmp_path / "a", Recorder()), trainer(tmp_path / "b")
    seen, alone = batches_of(job), batches_of(plain)
    job._step(0)
    plain._step(0)
    method: Any = job.optimizer
    assert method.came == [(k, d) for d in (1, 2, 0) for k in range(3)]
    assert len(set(seen[0].values())) == 9 and job.reader.cursor == [12, 9, 6]
    assert all(seen[0][k, 0] == alone[0][k, 0] for k in range(3))  # what every method reads first
    torch.testing.assert_close(job.update, plain.update)
    assert not torch.equal(method.rows[0, 1], method.rows[0, 2])


def test_split_draws_share_one_batch(tmp_path: Path) -> None:
    job = trainer(tmp_path, Recorder(), batch_size=18, draws="split")
    seen = batches_of(job)
    job._step(0)
    assert [len(seen[0][0, d]) // 8 for d in range(3)] == [2, 2, 3] and job.reader.cursor == list(job.order.sizes)
    with pytest.raises(ConfigError, match=r"3 queries a step are needed for 3 draws, more than a batch has of c"):
        trainer(tmp_path, Recorder(), batch_size=9, draws="split")


def test_one_query_and_nothing_beside_it_is_no_draw() -> None:
    train = config(draws="split", hard_negatives=0).train
    with pytest.raises(ConfigError, match="6 queries a step are needed for 3 draws"):
        check_draws(["a"], [5], 3, train)
    check_draws(["a"], [1], 1, train)
    assert draw_sizes(7, 3, train) == [2, 2, 3] and draw_sizes(7, 3, config().train) == [7, 7, 7]


# -- batches by a method's shares -------------------------------------------------------------------------------------


class Shared(MultitaskOptimizer):
    """Fixed shares, one of them 0."""

    name = "shared"
    summary = "for tests"
    cost: ClassVar[Cost] = "norms"
    wanted: ClassVar[Sequence[float]] = (0.6, 0.0, 0.4)

    def shares(self) -> Sequence[float]:
        return self.wanted

    def open_step(self, losses: Sequence[float] | None) -> None:
        self.sum = torch.zeros_like(self.theta)

    def add_task(self, k: int, gradient: torch.Tensor) -> None:
        assert self.sizes is not None
        self.sum += gradient * (self.sizes[k] / sum(self.sizes))

    def write_update(self, out: torch.Tensor) -> None:
        assert self.sizes is not None
        out.copy_(self.sum)
        self.set_report([self.sizes[k] / sum(self.sizes) for k in sorted(self.present)])


def test_a_method_chooses_how_many_queries_each_task_has(tmp_path: Path) -> None:
    job = trainer(tmp_path, Shared(), steps=4)
    summary = job.run()
    assert summary["queries"] == {"a": 4 * 5, "b": 0, "c": 4 * 4}
    assert job.optimizer.report()["weights"] == pytest.approx([5 / 9, 0, 4 / 9])


def test_sizes_follow_shares_by_largest_remainders() -> None:
    assert sizes_by_share("x", [0.5, 0.3, 0.2], 10) == [5, 3, 2]
    assert sizes_by_share("x", [0.55, 0.25, 0.2], 9) == [5, 2, 2]
    assert sizes_by_share("x", [0.999, 0.0005, 0.0005], 8) == [6, 1, 1]
    assert sizes_by_share("x", [1, 0, 0], 8) == [8, 0, 0]
    rng = np.random.default_rng(0)
    for _ in range(200):
        shares = rng.dirichlet(np.full(6, 0.2))
        sizes = sizes_by_share("x", shares.tolist(), 16)
        assert sum(sizes) == 16 and min(sizes) >= 1


@pytest.mark.parametrize("shares", [[0, 0, 0], [1, -1, 1], [float("nan"), 1, 1]])
def test_bad_shares_are_the_methods_mistake(shares: list[float]) -> None:
    with pytest.raises(UsageError, match=r"x: shares\(\) must give numbers >= 0"):
        sizes_by_share("x", shares, 8)
    with pytest.raises(UsageError, match="asks for 3 tasks in a batch of 2"):
        sizes_by_share("x", [1, 1, 1], 2)


def test_annealed_sampling_reads_more_of_large_tasks_first(tmp_path: Path) -> None:
    job = trainer(tmp_path, "annealed", steps=12, batch_size=12)
    sizes: list[list[int]] = []
    read = job.reader.read
    job.reader.read = lambda step: (sizes.append(job.reader.asked() or []), read(step))[1]  # type: ignore[method-assign]
    summary = job.run()
    assert sizes[0] == sizes_by_share("x", COUNTS, 12) == [8, 3, 1] and sizes[-1][0] < 6
    assert list(summary["queries"].values()) == np.sum(sizes, axis=0).tolist()


# -- other points -----------------------------------------------------------------------------------------------------


class TwoPass(MultitaskOptimizer):
    """SAM on the mean gradient, all of it in the second pass; remembers the parameters it saw."""

    name = "two_pass"
    summary = "for tests"
    cost: ClassVar[Cost] = "norms"
    perturbs = True
    shardable = True

    def open_step(self, losses: Sequence[float] | None) -> None:
        self.before, self.total = self.theta.clone(), torch.zeros_like(self.theta)

    def add_task(self, k: int, gradient: torch.Tensor) -> None:
        self.total += gradient / self.num_tasks

    def second_pass(self) -> None:
        self.first = self.total.clone()
        self.same = [self.gradient_at(k, torch.zeros_like(self.theta))[0].clone() for k in self.present]
        offset = 0.05 * self.first / self.first.norm()
        self.total = sum(self.gradient_at(k, offset)[0] / self.num_tasks for k in self.present)  # type: ignore[assignment]

    def write_update(self, out: torch.Tensor) -> None:
        assert torch.equal(self.theta, self.before)  # bit for bit
        out.copy_(self.total)
        self.set_report([1 / self.num_tasks] * self.num_tasks)


def test_gradients_at_other_points_are_of_the_same_batch_and_dropout(tmp_path: Path) -> None:
    job = trainer(tmp_path, TwoPass(), encoder={"dropout": 0.3, "sharing": "per-task-query"}, clip_norm=0)
    theta = job.flat.theta.clone()
    job.base.step = lambda rate: None  # type: ignore[method-assign]
    job._step(0)
    method: Any = job.optimizer
    torch.testing.assert_close(sum(method.same) / 3, method.first)
    assert torch.equal(job.flat.theta, theta) and not torch.allclose(method.total, method.first, rtol=1e-3)
    assert job.journal.entries[0]["ms"].keys() >= {"second_pass", "combine"}


def test_fmtl_is_sam_task_by_task(tmp_path: Path) -> None:
    """Against parameters that are moved by hand."""
    job = trainer(tmp_path / "a", "fmtl", clip_norm=0)
    job._step(0)
    expected = torch.zeros_like(job.update)
    for k in range(3):
        by_hand = trainer(tmp_path / "b")
        batches = by_hand.reader.read(0)
        by_hand.gradients.forward(0, k, batches).backward()
        gradient = by_hand.flat.gradient.clone()
        by_hand.flat.theta += 0.05 * gradient / gradient.norm()
        by_hand.flat.gradient.zero_()
        by_hand.gradients.forward(0, k, batches).backward()
        expected += by_hand.flat.gradient / 3
    torch.testing.assert_close(job.update, expected, rtol=1e-4, atol=1e-7)


# -- checkpoints ------------------------------------------------------------------------------------------------------

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "round robin": ("static", {"tasks_per_step": 2}),
    "shuffled": ("groupdro", {"tasks_per_step": 1, "task_order": "shuffled"}),
    "drawn": ("famo", {"tasks_per_step": 2, "task_order": "shares"}),
    "extra draws": ("sdmgrad", {}),
    "split draws": ("sdmgrad", {"draws": "split", "batch_size": 18}),
    "sampling": ("annealed", {}),
    "perturbed": ("fmtl", OWN),
}


@pytest.mark.parametrize("case", CASES)
def test_a_run_resumed_at_any_step_equals_one_undisturbed(case: str, tmp_path: Path) -> None:
    name, train = CASES[case]
    at = 4 + sum(map(ord, case)) % 8

    def stop(done: int, total: int, losses: dict[str, float]) -> None:
        if done == at:
            raise StopHereError

    with pytest.raises(StopHereError):
        trainer(tmp_path / "x", name, **train).run(stop)
    resumed, whole = trainer(tmp_path / "x", name, **train), trainer(tmp_path / "y", name, **train)
    again, straight = resumed.run(), whole.run()
    assert torch.equal(resumed.flat.theta, whole.flat.theta) and torch.isfinite(whole.flat.theta).all()
    assert again["queries"] == straight["queries"] and again["update_digest"] == straight["update_digest"]
