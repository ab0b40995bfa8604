"""The training loop on a real (tiny) encoder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mtbench.config import Config, build_config
from mtbench.data.negatives import Negatives
from mtbench.errors import RunError
from mtbench.model.encoder import DualEncoder, build_encoder
from mtbench.model.tokenizer import train_tokenizer
from mtbench.optim import GramWeighting, MultitaskOptimizer
from mtbench.registry import entries, get_optimizer
from mtbench.training.batches import BatchOrder
from mtbench.training.diagnostics import forget_peak, peak_memory
from mtbench.training.examples import TaskExamples, TrainingData
from mtbench.training.loop import Episode, Trainer

TASKS = ("a", "b", "c")


class Tokens:
    """A split or a corpus of random token ids, as the prepared form shows it."""

    def __init__(self, rows: list[np.ndarray], targets: np.ndarray | None = None) -> None:
        self.rows, self.targets = rows, targets
        self.lengths = np.array([len(r) for r in rows])
        self.pages = np.arange(len(rows))

    def __len__(self) -> int:
        return len(self.rows)

    def tokens(self, i: int) -> np.ndarray:
        return self.rows[i]

    def positives(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        assert self.targets is not None
        return np.array([self.targets[i]]), np.array([1])


class FakeTask:
    def __init__(self, name: str, train: Tokens) -> None:
        self.name, self.train = name, train


def examples() -> list[TaskExamples]:
    draws = np.random.default_rng(0)
    corpus = Tokens([draws.integers(5, 60, draws.integers(4, 12)) for _ in range(40)])
    found = []
    for name in TASKS:
        targets = draws.integers(0, 40, 30)
        queries = Tokens([np.append(corpus.rows[t][:3], 1) for t in targets], targets)
        hard = np.stack([draws.choice(np.setdiff1d(np.arange(40), [t]), 4, replace=False) for t in targets])
        negatives = Negatives(hard.astype(np.int32), {}, 40, np.zeros(31, np.int64), np.empty(0, np.int32))
        found.append(TaskExamples(FakeTask(name, queries), corpus, negatives, place=len(found)))  # type: ignore[arg-type]
    return found


def config(**train: Any) -> Config:
    encoder = {"hidden": 16, "heads": 2, "feed_forward": 32, "vocabulary": 64} | train.pop("encoder", {})
    base = {"batch_size": 9, "log_every": 2, "cosines_every": 4, "checkpoint_every": 3, "hard_negatives": 2}
    return build_config({"encoder": encoder, "train": {**base, **train}}, "test")


def model(settings: Config) -> DualEncoder:
    tokenizer = train_tokenizer(["the quick brown fox jumps over the lazy dog " * 3] * 4, 64)
    return build_encoder(settings.encoder, tokenizer, len(TASKS), seed=1)


def trainer(
    work: Path, optimizer: str | MultitaskOptimizer = "naive", steps: int = 8, settings: Config | None = None
) -> Trainer:
    settings = settings or config()
    order = BatchOrder(TASKS, [np.arange(30)] * 3, settings.train.batch_size, 4.0, 0, 1)
    method = optimizer if isinstance(optimizer, MultitaskOptimizer) else get_optimizer(optimizer)()
    episode = Episode(1, steps, 1e-2, 0)
    return Trainer(model(settings), TrainingData(examples(), order, 0), method, episode, settings, work)


def trained(work: Path, *args: Any, **more: Any) -> tuple[torch.Tensor, dict[str, Any]]:
    job = trainer(work, *args, **more)
    summary = job.run()
    return job.flat.theta.clone(), summary


class StopHereError(Exception):
    pass


@pytest.mark.parametrize("name", sorted(entries("optimizer")))
def test_resuming_from_a_checkpoint_is_bit_exact(name: str, tmp_path: Path) -> None:
    def stop(done: int, total: int, losses: dict[str, float]) -> None:
        if done == 7:
            raise StopHereError

    with pytest.raises(StopHereError):
        trainer(tmp_path / "x", name, 10).run(stop)
    resumed, summary = trained(tmp_path / "x", name, 10)
    whole, expected = trained(tmp_path / "y", name, 10)
    assert torch.equal(resumed, whole)
    assert summary["update_digest"] == expected["update_digest"]


def test_gradient_caching_gives_the_gradient_of_the_whole_batch(tmp_path: Path) -> None:
    plain, _ = trained(tmp_path / "a", steps=1)
    cached, _ = trained(tmp_path / "b", steps=1, settings=config(micro_batch=4))
    # Adam's first step is the sign of the gradient times the rate: compare the gradients themselves
    first, second = trainer(tmp_path / "c"), trainer(tmp_path / "d", settings=config(micro_batch=4))
    for job in (first, second):
        job._step(0)
    assert torch.allclose(first.update, second.update, rtol=1e-4, atol=1e-6)
    assert (plain - cached).abs().max() < 0.03


def test_gradient_caching_repeats_dropout(tmp_path: Path) -> None:
    dropout = {"encoder": {"dropout": 0.3}}
    whole = trainer(tmp_path / "a", settings=config(micro_batch=64, **dropout))
    whole._step(0)
    again = trainer(tmp_path / "b", settings=config(micro_batch=64, **dropout))
    again._step(0)
    other = trainer(tmp_path / "c", settings=config(micro_batch=64))
    other._step(0)
    assert torch.equal(whole.update, again.update) and not torch.equal(whole.update, other.update)


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    losses: list[float] = []
    trainer(tmp_path, steps=40).run(lambda done, total, by_task: losses.append(sum(by_task.values())))
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:5])


def test_query_encoders_of_one_task_get_their_own_gradient_in_mean_form(tmp_path: Path) -> None:
    settings = config(encoder={"sharing": "per-task-query"}, clip_norm=0)
    job = trainer(tmp_path, "pcgrad", settings=settings)
    seen: dict[int, torch.Tensor] = {}
    original = job.gradients.take_own

    def keep(k: int, batches: Any) -> None:
        segment = job.flat.own_segment(k)
        assert segment is not None
        seen[k] = job.flat.gradient[slice(*segment)].clone()
        original(k, batches)

    job.gradients.take_own = keep  # type: ignore[method-assign]
    job._step(0)
    for k, gradient in seen.items():
        assert gradient.abs().max() > 0
        assert torch.allclose(job.update[slice(*job.flat.own_segment(k))], gradient / 3)  # type: ignore[misc]


def test_the_summary_has_the_temperature_of_a_method_that_has_one(tmp_path: Path) -> None:
    _, summary = trained(tmp_path / "a", "tsage", 8)
    assert summary["temperature"] == pytest.approx(2 / (1 - 0.999**8))
    assert "temperature" not in trained(tmp_path / "b", "naive", 2)[1]


def test_a_method_is_told_in_which_episode_it_began(tmp_path: Path) -> None:
    job = trainer(tmp_path, get_optimizer("tsage")(tau_schedule="halving"), 2)
    job.episode = dataclasses.replace(job.episode, number=5, first=4)
    job._start_optimizer()
    assert job.run()["report"]["tau"] == 32.0


def test_a_step_that_is_not_finite_is_skipped_counted_and_harmless(tmp_path: Path) -> None:
    job = trainer(tmp_path, "tsage", steps=6)
    original = job.gradients.task_forward
    calls = [0]

    def poisoned(*args: Any) -> Any:
        calls[0] += 1
        pending = original(*args)
        if calls[0] == 5:
            back = pending.backward

            def bad() -> None:
                back()
                job.flat.gradient[3] = float("nan")

            pending.backward = bad
        return pending

    job.gradients.task_forward = poisoned  # type: ignore[assignment]
    summary = job.run()
    assert summary["skipped_steps"] == 1
    assert torch.isfinite(job.flat.theta).all()


def test_an_update_that_is_not_finite_never_reaches_the_weights(tmp_path: Path) -> None:
    """The methods look at shared coordinates only; what one task has for itself may be broken alone."""
    job = trainer(tmp_path, steps=6)
    finish = job.optimizer.finish

    def overflowing(out: torch.Tensor) -> bool:
        counts = finish(out)
        if job.optimizer.step_index == 2:
            out[5] = torch.inf
        return counts

    job.optimizer.finish = overflowing  # type: ignore[method-assign]
    summary = job.run()
    assert summary["skipped_steps"] == 1
    assert torch.isfinite(job.flat.theta).all()


class Curious(GramWeighting):
    """Uniform weights, drawn beside them a number a step; wants to be told all losses before and after."""

    name = "curious"
    summary = "wants to know everything"
    random = True
    needs_losses = True

    def open_step(self, losses: Sequence[float] | None) -> None:
        super().open_step(losses)
        self.seen = [*getattr(self, "seen", []), (losses, self.generator.random())]

    def weights_from_gram(self, gram: np.ndarray, losses: np.ndarray) -> np.ndarray:
        return np.full(len(gram), 1 / len(gram))

    def after_step(self, loss_fn: Callable[[], Sequence[float]]) -> None:
        self.after = [*getattr(self, "after", []), list(loss_fn())]


def test_the_loop_does_for_any_method_what_it_declares(tmp_path: Path) -> None:
    told: list[list[float]] = []
    method = Curious()
    trainer(tmp_path, method, steps=5).run(lambda done, total, losses: told.append(list(losses.values())))
    draws = np.random.default_rng([0, 1, *b"curious"])
    assert method.seen == [(losses, draws.random()) for losses in told]
    assert len(method.after) == 5 and method.after != told


@pytest.mark.parametrize("name", ["naive", "pcgrad", "groupdro"])
def test_the_loop_spares_a_method_what_it_does_not_use(name: str, tmp_path: Path) -> None:
    job = trainer(tmp_path, name, steps=2)
    job.gradients.losses = lambda step, batches: pytest.fail("losses nobody asked for")  # type: ignore[method-assign]
    told: list[Any] = []
    begin = job.optimizer.begin_step
    job.optimizer.begin_step = lambda step, losses=None: (told.append(losses), begin(step, losses))[1]  # type: ignore[assignment,method-assign]
    job.run()
    assert all((losses is not None) is (name == "groupdro") for losses in told) and len(told) == 2


def test_the_peak_is_that_of_the_stage() -> None:
    device = torch.device("cpu")
    large = torch.ones(50_000_000)
    before = peak_memory(device)
    del large
    forget_peak(device)
    after = peak_memory(device)
    if after == before:
        pytest.skip("this system does not forget")
    assert before - after > 100_000_000


def test_losses_that_stay_infinite_end_the_run_with_a_remedy(tmp_path: Path) -> None:
    job = trainer(tmp_path, steps=60)

    def break_weights(done: int, total: int, losses: dict[str, float]) -> None:
        if done == 3:
            job.flat.theta.fill_(float("nan"))

    with pytest.raises(RunError, match=r"step 27 .* 25 steps in a row; lower train\.lr"):
        job.run(break_weights)


@pytest.mark.parametrize(
    ("value", "says"),
    [(float("nan"), "the weights that training began with are not finite"), (3e38, "no update was taken before")],
)
def test_a_rate_that_was_never_used_is_not_blamed(value: float, says: str, tmp_path: Path) -> None:
    job = trainer(tmp_path, steps=60)
    job.flat.theta.fill_(value)
    with pytest.raises(RunError, match=f"from the first one on: {says}") as caught:
        job.run()
    assert "train.lr" not in str(caught.value) and "rates of the episodes before" in str(caught.value)


def test_the_learning_rate_rises_over_the_first_tenth_and_falls_to_zero(tmp_path: Path) -> None:
    job = trainer(tmp_path, steps=20)
    rates = [job.learning_rate(s) for s in range(20)]
    assert rates[0] == pytest.approx(0.5e-2) and max(rates) == pytest.approx(1e-2) and rates[-1] < 1e-3


def test_the_journal_has_losses_norms_weights_and_cosines(tmp_path: Path) -> None:
    job = trainer(tmp_path, "pcgrad", steps=9)
    job.run()
    entry = job.journal.entries[0]
    assert set(entry["losses"]) == set(entry["gradient_norms"]) == set(entry["weights"]) == set(TASKS)
    table = np.array(entry["cosines"])
    assert table.shape == (3, 3) and np.allclose(np.diag(table), 1, atol=1e-3) and np.allclose(table, table.T)
    assert 0 <= entry["conflict_rate"] <= 1 and entry["norm_after_clip"] <= 1.0 + 1e-6
    assert {"batch", "forward_backward", "combine", "update"} <= set(entry["ms"])
