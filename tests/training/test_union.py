"""Batches of one shuffled union of the tasks, with negatives across tasks."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training.test_loop import StopHereError, config, examples, model
from training.test_step_hooks import COUNTS, order

from mtbench.errors import ConfigError
from mtbench.model.padding import pad
from mtbench.optim import MultitaskOptimizer
from mtbench.pipeline.step_rules import check_steps
from mtbench.registry import get_optimizer
from mtbench.training.budget import epoch_steps, task_budget
from mtbench.training.examples import TrainingData
from mtbench.training.loop import Episode, Trainer
from mtbench.training.union import UnionOrder

UNION = config(mixing="union", batch_size=7)


def union_trainer(work: Path, method: str | MultitaskOptimizer = "naive", steps: int = 10, **train: Any) -> Trainer:
    settings = config(**{"mixing": "union", "batch_size": 7, "log_every": 1, **train})
    chosen = method if isinstance(method, MultitaskOptimizer) else get_optimizer(method)()
    data = TrainingData(examples(), order(settings), 0)
    return Trainer(model(settings), data, chosen, Episode(1, steps, 1e-2, 0), settings, work)


def test_a_round_holds_every_query_once() -> None:
    union = UnionOrder(order(config(mixing="union", batch_size=8)))
    assert len(union) == sum(COUNTS) == 48
    assert epoch_steps(COUNTS, [], config(mixing="union", batch_size=8).train) == 6
    assert epoch_steps(COUNTS, [], UNION.train) == 7
    seen: list[tuple[int, int]] = []
    for step in range(12):
        found = union.rows(step)
        assert sum(len(rows) for rows, _ in found) == 8 and {cycle for _, cycle in found} == {step // 6}
        seen += [(k, int(row)) for k, (rows, _) in enumerate(found) for row in rows]
    everything = [(k, row) for k, count in enumerate(COUNTS) for row in range(count)]
    assert sorted(seen[:48]) == sorted(seen[48:]) == everything and seen[:48] != seen[48:]
    other = UnionOrder(dataclasses.replace(order(config(mixing="union", batch_size=8)), seed=1))
    assert [r.tolist() for r, _ in union.rows(0)] != [r.tolist() for r, _ in other.rows(0)]


def test_a_tasks_share_of_the_union_is_that_of_its_queries() -> None:
    names, counts = ["a", "b"], [3000, 1000]
    for mixing, share in (("union", 0.25), ("tasks", 0.43)):
        train = config(mixing=mixing, batch_size=100).train
        budget = task_budget(names, counts, ["b"], train)
        assert budget.own / budget.total == pytest.approx(share, abs=0.01)
        assert epoch_steps(counts, task_budget(names, counts, names, train).sizes, train) == (
            40 if mixing == "union" else 53
        )


def loss_by_hand(job: Trainer, step: int) -> torch.Tensor:
    """The mean loss of the batch's queries against all of its passages."""
    batches, tasks = job.reader.read(step), job.examples
    texts = {"query": [], "passage": []}  # type: ignore[var-annotated]
    rows, targets, relevant = [], [], []
    for k, example in enumerate(tasks):
        batch = batches.of[k, 0]
        texts["query"] += [example.queries.tokens(int(q)) for q in batch.query_rows]
        texts["passage"] += [example.corpus.tokens(int(p)) for p in batch.passage_rows]
        targets += [len(rows) + int(t) for t in batch.targets]
        rows += batch.passage_rows.tolist()
        relevant += [int(example.queries.positives(int(q))[0][0]) for q in batch.query_rows]
    queries, passages = (job.model.encode(*pad(texts[s], 0, job.device), s, 0) for s in ("query", "passage"))  # type: ignore[arg-type]
    scores = queries @ passages.T
    for i, (own, target) in enumerate(zip(relevant, targets, strict=True)):
        scores[i, [j for j, row in enumerate(rows) if row == own and j != target]] = -torch.inf
    return torch.nn.functional.cross_entropy(scores, torch.tensor(targets))


def test_naive_takes_the_step_of_the_whole_batch(tmp_path: Path) -> None:
    job, twin = union_trainer(tmp_path / "a"), union_trainer(tmp_path / "b")
    sizes = set()
    for step in range(4):
        loss = loss_by_hand(twin, step)
        twin.flat.gradient.zero_()
        loss.backward()
        expected, cursor = twin.flat.gradient.clone(), list(job.reader.cursor)
        job._step(step)
        entry = job.journal.entries[-1]
        assert entry["norm_before_clip"] == pytest.approx(float(expected.norm()), rel=1e-5)
        assert np.mean(list(entry["losses"].values())) == pytest.approx(loss.item(), rel=1e-5)
        sizes.add(tuple(now - then for now, then in zip(job.reader.cursor, cursor, strict=True)))
        twin.flat.theta.copy_(job.flat.theta)
    assert len(sizes) > 1  # tasks have as many queries in a batch as fall into it


@pytest.mark.parametrize("name", ["naive", "pcgrad", "tsage", "uw", "fmtl", "famo"])
def test_methods_of_all_kinds_train_and_resume(name: str, tmp_path: Path) -> None:
    def stop(done: int, total: int, losses: dict[str, float]) -> None:
        if done == 7:
            raise StopHereError

    with pytest.raises(StopHereError):
        union_trainer(tmp_path / "x", name).run(stop)
    resumed = union_trainer(tmp_path / "x", name)
    summary = resumed.run()
    whole = union_trainer(tmp_path / "y", name)
    assert whole.run()["update_digest"] == summary["update_digest"]
    assert torch.equal(resumed.flat.theta, whole.flat.theta)
    assert sum(summary["queries"].values()) == 70 and summary["skipped_steps"] == 0


def test_a_task_without_a_query_in_the_batch_has_no_gradient(tmp_path: Path) -> None:
    job = union_trainer(tmp_path, batch_size=3, steps=12)
    job.run()
    absent = 0
    for entry in job.journal.entries:
        norms, losses = entry["gradient_norms"], entry["losses"]
        assert {name for name, norm in norms.items() if norm == 0} == {
            name for name, loss in losses.items() if loss == 0
        }
        absent += sum(norm == 0 for norm in norms.values())
    assert 0 < absent < 24


def test_what_does_not_go_with_it_is_refused() -> None:
    def check(method: str, **train: Any) -> None:
        settings = config(mixing="union", **train).train
        check_steps(get_optimizer(method), settings, ["a", "b", "c"], [3, 3, 3], 3)

    check("naive")
    with pytest.raises(ConfigError, match=r"sdmgrad takes several batches of a task"):
        check("sdmgrad")
    with pytest.raises(ConfigError, match=r"annealed chooses the tasks of a batch itself"):
        check("annealed")
    with pytest.raises(ConfigError, match=r"goes without train.tasks_per_step"):
        check("naive", tasks_per_step=1)
    with pytest.raises(ConfigError, match=r"goes without train.micro_batch"):
        check("naive", micro_batch=4)
