"""Milliseconds per training step, method by method, on the same batches in one run.

    python benchmarks/training_step.py [--optimizers naive,tsage] [--rounds 12] [--size tiny|t5-base] [--batch-size 64]

One step has K = 8 tasks: forward and backward of each, the combination, clipping and AdamW. The methods take turns, so
that a busy machine slows all alike; the ratios are those of the median times. `t5-base` (random weights, no download)
needs a GPU to be of use.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from mtbench.allocator import keep_freed_memory
from mtbench.config import build_config
from mtbench.data.negatives import Negatives
from mtbench.model.encoder import DualEncoder, build_encoder
from mtbench.model.tokenizer import train_tokenizer
from mtbench.registry import entries, get_optimizer
from mtbench.training.batches import BatchOrder
from mtbench.training.examples import TaskExamples, TrainingData
from mtbench.training.loop import Episode, Trainer

TASKS = 8
SIZES = {
    "tiny": {"hidden": 64, "layers": 1, "feed_forward": 128, "heads": 4},
    "t5-base": {"hidden": 768, "layers": 12, "feed_forward": 3072, "heads": 12},
}


class Tokens:
    """Random token ids in place of a prepared split or corpus."""

    def __init__(self, random: np.random.Generator, count: int, low: int, high: int, vocabulary: int) -> None:
        lengths = random.integers(low, high + 1, count)
        self.rows = [random.integers(5, vocabulary, n) for n in lengths]
        self.lengths, self.pages = lengths, np.arange(count)
        self.targets = random.integers(0, count, count)

    def __len__(self) -> int:
        return len(self.rows)

    def tokens(self, i: int) -> np.ndarray:
        """Ids of text i."""
        return self.rows[i]

    def positives(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """One relevant passage."""
        return self.targets[i : i + 1], np.ones(1, dtype=np.int32)


class Task:
    """The name and training queries of a task."""

    def __init__(self, name: str, train: Tokens) -> None:
        self.name, self.train = name, train


def make_trainer(name: str, options: argparse.Namespace, work: Path, device: torch.device) -> Trainer:
    """A trainer of one method on its own copy of the model; the same batches for every method."""
    random = np.random.default_rng(0)
    vocabulary = 2000 if options.size == "tiny" else 32_128
    corpus = Tokens(random, 1000, 80, options.passage_length, vocabulary)
    examples = []
    for k in range(TASKS):
        queries = Tokens(random, 1000, 10, options.query_length, vocabulary)
        hard = random.integers(0, 1000, (1000, 8)).astype(np.int32)
        negatives = Negatives(hard, {}, 1000, np.zeros(1001, np.int64), np.empty(0, np.int32))
        examples.append(TaskExamples(Task(f"task{k}", queries), corpus, negatives, place=k))  # type: ignore[arg-type]
    values = {
        "encoder": SIZES[options.size] | {"precision": options.precision},
        "train": {"batch_size": options.batch_size, "cosines_every": 0, "log_every": 10_000, "hard_negatives": 1},
    }
    config = build_config(values, "benchmark")
    tokenizer = train_tokenizer(["some text to learn from " * 20], 300)
    model = build_encoder(config.encoder, tokenizer, TASKS, seed=0)
    _resize(model, vocabulary)
    order = BatchOrder([f"task{k}" for k in range(TASKS)], [np.arange(1000)] * TASKS, options.batch_size, 4.0, 0, 1)
    episode = Episode(1, 10_000, 1e-4, 0)
    params = {"burn_in": 0.0} if name == "tsage" else {}
    data = TrainingData(examples, order, 0)
    return Trainer(model.to(device), data, get_optimizer(name)(**params), episode, config, work)


def _resize(model: DualEncoder, vocabulary: int) -> None:
    for backbone in model.backbones.values():
        backbone.resize_token_embeddings(vocabulary)  # type: ignore[operator]


def main() -> None:
    """Measures and prints one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--optimizers", default=",".join(sorted(entries("optimizer"))))
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--size", choices=sorted(SIZES), default="tiny")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--passage-length", type=int, default=100)
    parser.add_argument("--query-length", type=int, default=30)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    keep_freed_memory()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    names = ["naive", *(n for n in options.optimizers.split(",") if n != "naive")]
    with tempfile.TemporaryDirectory() as folder:
        trainers = {n: make_trainer(n, options, Path(folder) / n, device) for n in names}
        times: dict[str, list[float]] = {n: [] for n in names}
        for step in range(options.rounds + 2):
            for name, trainer in trainers.items():
                _synchronise(device)
                start = time.perf_counter()
                trainer._step(step)
                _synchronise(device)
                if step >= 2:  # the first steps compile and allocate
                    times[name].append(1000 * (time.perf_counter() - start))
    print(f"K = {TASKS}, {trainers['naive'].flat.theta.numel():,} parameters, batch {options.batch_size}, {device}")
    print("| method | ms per step | ratio to naive | combine ms | method's state, MB |\n|---|---|---|---|---|")
    base = float(np.median(times["naive"]))
    for name, trainer in trainers.items():
        median = float(np.median(times[name]))
        combine = trainer.phases.medians().get("combine", 0.0)
        state = trainer.optimizer.state_bytes() / 1e6
        print(f"| {name} | {median:.1f} | {median / base:.3f} | {combine:.2f} | {state:.1f} |")


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
