"""Memory per rank and time per step of one run on 1, 2, ... ranks, with and without sharded state.

    python benchmarks/ranks.py [--ranks 1,2] [--optimizers tsage,pcgrad,naive] [--parameters 4000000] [--tasks 8]

Ranks are processes with gloo on this machine's processors, so times say little about GPUs, and bytes all. The state's
bytes are counted from tensors; ``process`` is the resident memory that training added, at its peak.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

LENGTH = 16


def train(options: argparse.Namespace) -> None:
    """One rank: a few steps of each optimizer; rank 0 prints a line of JSON each."""
    import torch

    from mtbench.training.diagnostics import peak_memory
    from mtbench.training.ranks import join_ranks, leave_ranks

    torch.set_num_threads(1)
    ranks = join_ranks()
    before = peak_memory(torch.device("cpu"))
    trainer = make_trainer(options, ranks)
    summary = trainer.run()
    adam = trainer.base.state_bytes
    rows = [v for n, v in vars(trainer.optimizer).items() if n in ("_buffer", "_memory") and v is not None]
    numbers = {
        "ranks": ranks.size,
        "sharded": trainer.shard.active,
        "optimizer": options.optimizers,
        "state_bytes": trainer.optimizer.state_bytes(),
        "row_bytes": sum(r.nbytes for r in rows),
        "adam_bytes": adam,
        "process": peak_memory(torch.device("cpu")) - before,
        "step_ms": summary["step_ms"],
        "phase_ms": summary["phase_ms"],
    }
    if ranks.rank == 0:
        print(json.dumps(numbers), flush=True)
    leave_ranks()


def make_trainer(options: argparse.Namespace, ranks: Any) -> Any:
    """A trainer of an encoder that is one table of embeddings, with so many parameters, on random tokens."""
    import numpy as np
    import torch

    from mtbench.config import build_config
    from mtbench.data.negatives import Negatives
    from mtbench.registry import get_optimizer
    from mtbench.training.batches import BatchOrder
    from mtbench.training.examples import TaskExamples, TrainingData
    from mtbench.training.loop import Episode, Trainer

    class Table(torch.nn.Module):
        dimension = 64

        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.owners: dict[str, int] = {}
            self.embedding = torch.nn.Embedding(options.parameters // 64, 64)

        def encode(self, ids: Any, mask: Any, side: str, task: int) -> Any:
            return self.embedding(ids).mean(1)

    class Rows:
        def __init__(self, count: int, seed: int) -> None:
            draws = np.random.default_rng(seed)
            self.rows = draws.integers(0, options.parameters // 64, (count, LENGTH))

        def __len__(self) -> int:
            return len(self.rows)

        def tokens(self, i: int) -> np.ndarray:
            return self.rows[i]

        def positives(self, i: int) -> tuple[np.ndarray, np.ndarray]:
            return np.array([i]), np.array([1])

    class Named:
        def __init__(self, name: str) -> None:
            self.name, self.train = name, Rows(64, len(name))

    names = [f"task{k}" for k in range(options.tasks)]
    hard = Negatives(
        np.arange(64, dtype=np.int32)[:, None] + 64, {}, 128, np.zeros(65, np.int64), np.empty(0, np.int32)
    )
    examples: list[Any] = [
        TaskExamples(Named(n), Rows(128, 7), hard, place=k)  # type: ignore[arg-type]
        for k, n in enumerate(names)
    ]
    train = {"batch_size": 8 * options.tasks, "log_every": 1000, "cosines_every": 0, "checkpoint_every": 10_000}
    config = build_config({"train": {**train, "shard_state": options.sharded}}, "benchmark")
    order = BatchOrder(names, [np.arange(64)] * options.tasks, 8 * options.tasks, 4.0, 0, 1)
    method, episode = get_optimizer(options.optimizers)(), Episode(1, options.steps, 1e-3, 0)
    work = Path(tempfile.mkdtemp())
    encoder: Any = Table()
    return Trainer(encoder, TrainingData(examples, order, 0), method, episode, config, work, ranks)


def start(options: argparse.Namespace, size: int, optimizer: str, sharded: bool) -> dict[str, Any]:
    """What ``size`` fresh processes measure."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    group = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    words = [sys.executable, __file__, "--optimizers", optimizer, "--worker"]
    for name in ("parameters", "tasks", "steps"):
        words += [f"--{name}", str(getattr(options, name))]
    words += ["--sharded"] if sharded else []
    processes = [
        subprocess.Popen(words, env={**os.environ, **group, "RANK": str(r)}, stdout=subprocess.PIPE, text=True)
        for r in range(size)
    ]
    texts = [process.communicate()[0] for process in processes]
    result: dict[str, Any] = json.loads(texts[0].strip().splitlines()[-1])
    return result


def main() -> None:
    """A table in Markdown, MB per rank."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", default="1,2")
    parser.add_argument("--optimizers", default="tsage,pcgrad,naive")
    parser.add_argument("--parameters", type=int, default=4_000_000)
    parser.add_argument("--tasks", type=int, default=8)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--sharded", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        train(options)
        return
    print(
        "| optimizer | ranks | sharded | state | rows | Adam | process | step ms |\n|---|---|---|---|---|---|---|---|"
    )
    for optimizer in options.optimizers.split(","):
        for size in (int(s) for s in options.ranks.split(",")):
            for sharded in (False, True) if size > 1 else (False,):
                n = start(options, size, optimizer, sharded)
                sizes = [f"{n[k] / 1e6:.1f}" for k in ("state_bytes", "row_bytes", "adam_bytes", "process")]
                row = [optimizer, str(size), "yes" if sharded else "no", *sizes, f"{n['step_ms']:.0f}"]
                print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
