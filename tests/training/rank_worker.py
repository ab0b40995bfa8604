"""What each of several processes does in ``test_ranks.py``: train, and leave behind what it saw.

RANK=0 WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=... python rank_worker.py FOLDER
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from torch import nn
from training.test_loop import TASKS, config, examples

from mtbench.errors import RunError
from mtbench.registry import entries, get_optimizer
from mtbench.training.batches import BatchOrder
from mtbench.training.examples import TrainingData
from mtbench.training.loop import Episode, Trainer
from mtbench.training.ranks import Ranks, join_ranks, leave_ranks

STEPS = 20
OPTIMIZERS = sorted(entries("optimizer"))
UNEVEN = {"batch_size": 4, "micro_batch": 2}
"""Task batches of 2, 1 and 1 queries: the first of two ranks has no row of the last two tasks."""
OWN = {"encoder": {"sharing": "per-task-query"}}
STEPS_OF_THEIR_OWN: dict[str, tuple[str, dict[str, Any]]] = {
    "one task": ("static", {"tasks_per_step": 1, "task_order": "shuffled", **OWN}),
    "split draws": ("sdmgrad", {"draws": "split", "batch_size": 18}),
    "perturbed": ("fmtl", OWN),
    "union": ("pcgrad", {"mixing": "union", "batch_size": 4, **OWN}),
    "sgd": ("pcgrad", {"base": "sgd", "weight_decay": 0.1, **OWN}),
}
"""Other tasks, draws, points, batches or base optimizers than most."""
WIDTH = 16


class StopHereError(Exception):
    """Ends a training run in its middle."""


class Embeddings(nn.Module):
    """A dual encoder that costs little, in float64, so that only real differences show; with blocks, for GradNorm."""

    dimension = WIDTH

    def __init__(self, own: bool) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.embedding = nn.Embedding(64, WIDTH)
        self.block = nn.ModuleList([nn.Linear(WIDTH, WIDTH) for _ in range(2)])
        self.query = nn.ModuleList([nn.Linear(WIDTH, WIDTH) for _ in TASKS] if own else [])
        self.owners = {f"query.{k}.": k for k in range(len(self.query))}
        self.double()

    def encode(self, ids: torch.Tensor, mask: torch.Tensor, side: str, task: int) -> torch.Tensor:
        states = self.embedding(ids) * mask[..., None]
        vectors = states.sum(1) / mask.sum(1, keepdim=True)
        for block in self.block:
            vectors = vectors + torch.tanh(block(vectors))
        return self.query[task](vectors) if side == "query" and self.owners else vectors


def job(work: Path, ranks: Ranks, name: str, *, steps: int = STEPS, **train: Any) -> Trainer:
    """A trainer in float64."""
    settings = config(**{"batch_size": 10, "log_every": 1, "cosines_every": 5, "checkpoint_every": 1000, **train})
    order = BatchOrder(TASKS, [np.arange(30)] * 3, settings.train.batch_size, 4.0, 0, 1)
    episode = Episode(1, steps, 1e-2, 0)
    method = get_optimizer(name)()
    encoder: Any = Embeddings(settings.encoder.sharing != "shared")
    return Trainer(encoder, TrainingData(examples(), order, 0), method, episode, settings, work, ranks)


def result(work: Path, ranks: Ranks, name: str, **more: Any) -> dict[str, Any]:
    """Train, and what came of it."""
    losses: list[list[float]] = []
    trainer = job(work, ranks, name, **more)
    summary = trainer.run(lambda done, total, by: losses.append(list(by.values())))
    keys = (
        "gradient_norms",
        "weights",
        "norm_before_clip",
        "norm_after_clip",
        "step_difference",
        "cosines",
        "conflict_rate",
        "commitment_rate",
    )
    curves = [{key: entry[key] for key in keys if key in entry} for entry in trainer.journal.entries]
    kept = {key: summary[key] for key in ("optimizer_state_bytes", "report", "ranks", "sharded") if key in summary}
    adam = trainer.base.state_bytes
    theta = trainer.flat.theta.tolist()
    return {"losses": losses, "curves": curves, "theta": theta, "adam_bytes": adam, **kept}


def cases() -> dict[str, tuple[str, dict[str, Any]]]:
    """Name to optimizer and settings."""
    found: dict[str, tuple[str, dict[str, Any]]] = {name: (name, {}) for name in OPTIMIZERS}
    found["uneven"] = ("tsage", UNEVEN)
    found["own"] = ("pcgrad", OWN)
    found["clip"] = ("cagrad", {"clip_norm": "naive"})
    found.update(STEPS_OF_THEIR_OWN)
    return found


def train_all(folder: Path, ranks: Ranks, sharded: bool) -> None:
    for case, (name, train) in cases().items():
        got = result(folder / "work", ranks, name, shard_state=sharded, **train)
        leave(folder, f"{case}-{'sharded' if sharded else 'whole'}", got, ranks)


def resume(folder: Path, ranks: Ranks) -> None:
    """Stop after 7 of 10 steps, of which 6 are in the checkpoint; go on; and the same without a stop."""

    def stop(done: int, total: int, losses: dict[str, float]) -> None:
        if done == 7:
            raise StopHereError

    for name in ("tsage", "gradnorm", "moco"):
        for place in ("again", "alone"):
            with contextlib.suppress(StopHereError):
                job(folder / f"{name}-{place}", ranks, name, steps=10, checkpoint_every=3).run(stop)
        leave(folder, f"{name}-again", result(folder / f"{name}-again", ranks, name, steps=10), ranks)
        leave(folder, f"{name}-straight", result(folder / f"{name}-straight", ranks, name, steps=10), ranks)


def drift(folder: Path, ranks: Ranks) -> None:
    """Rank 1's weights change behind the loop's back in step 5."""

    def change(done: int, total: int, losses: dict[str, float]) -> None:
        if done == 5 and ranks.rank == 1:
            trainer.flat.theta[3] += 1e-9

    trainer = job(folder / "drift", ranks, "naive", shard_state=False, check_ranks_every=4)
    try:
        trainer.run(change)
    except RunError as error:
        leave(folder, f"drift-{ranks.rank}", {"message": str(error)}, None)


def exchange_threads() -> list[str]:
    """The threads by which this process exchanges tensors with others (Linux)."""
    names = []
    for task in Path("/proc/self/task").glob("*"):
        with contextlib.suppress(OSError):  # it has just ended
            names.append((task / "comm").read_text().strip())
    return sorted(name for name in names if "gloo" in name)


def leave(folder: Path, name: str, value: dict[str, Any], ranks: Ranks | None) -> None:
    if ranks is None or ranks.rank == 0:
        (folder / f"{name}.json").write_text(json.dumps(value))


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    ranks = join_ranks()
    for sharded in (True, False):
        train_all(folder, ranks, sharded)
    resume(folder, ranks)
    drift(folder, ranks)
    threads = exchange_threads()
    leave_ranks()
    deadline = time.monotonic() + 5
    while exchange_threads() and time.monotonic() < deadline:
        time.sleep(0.01)  # a thread that has been joined is listed a moment longer
    leave(folder, f"threads-{ranks.rank}", {"before": threads, "after": exchange_threads()}, None)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
