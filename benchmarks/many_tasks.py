"""Time of the K x K mathematics of the methods that work on the Gram matrix, for many tasks.

    python benchmarks/many_tasks.py [--tasks 8,32,100] [--only cagrad,nash] [--limit 60]

The step alone on K gradients of 1,000 numbers in float64, so that the vectors cost nothing: milliseconds of processor
time on one thread, the median of three steps, for gradients of three kinds:

    random     nearly orthogonal
    narrow     in K / 4 dimensions, so that many conflict and the Gram matrix is singular
    far        norms from 0.01 to 100

A method that takes longer than ``--limit`` seconds for a kind is not asked about more tasks.
"""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

KINDS = ("random", "narrow", "far")
SIZE = 1000
STEPS = 3


def main() -> None:
    """Print one table, with a column for each number of tasks and kind of gradients."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default="8,32,100")
    parser.add_argument("--only", default="")
    parser.add_argument("--limit", type=float, default=60.0)
    options = parser.parse_args()
    counts = [int(text) for text in options.tasks.split(",")]
    columns = [f"{kind}, K = {count}" for count in counts for kind in KINDS]
    print(f"| method | {' | '.join(columns)} |\n|---|{'---:|' * len(columns)}")
    for name in gram_methods():
        if any(part in name for part in options.only.split(",")):
            print(f"| {name} | {' | '.join(cells(name, counts, options.limit))} |", flush=True)


def gram_methods() -> list[str]:
    """The registered methods whose weights come from the Gram matrix."""
    from mtbench.optim import GramWeighting
    from mtbench.registry import entries, get_optimizer

    return [name for name in sorted(entries("optimizer")) if issubclass(get_optimizer(name), GramWeighting)]


def cells(name: str, counts: list[int], limit: float) -> list[str]:
    """The row of one method."""
    found, slow = [], set()
    for count in counts:
        for kind in KINDS:
            milliseconds = None if kind in slow else step_time(name, gradients(kind, count))
            if milliseconds is not None and milliseconds > 1000 * limit:
                slow.add(kind)
            found.append("" if milliseconds is None else f"{milliseconds:.1f}")
    return found


def gradients(kind: str, count: int) -> Any:
    """``count`` gradients of a kind, (count, SIZE) in float64."""
    import torch

    torch.manual_seed(0)
    rows = torch.randn(count, SIZE, dtype=torch.float64)
    if kind == "narrow":
        rows[:, max(2, count // 4) :] = 0
    elif kind == "far":
        rows *= torch.logspace(-2, 2, count, dtype=torch.float64)[:, None]
    return rows


def step_time(name: str, rows: Any) -> float:
    """Milliseconds of processor time that a step takes, the median of some."""
    import torch

    from mtbench.registry import get_optimizer

    torch.set_num_threads(1)
    method = get_optimizer(name)()
    method.start(torch.zeros(SIZE, dtype=torch.float64), len(rows), STEPS + 1)
    losses = torch.ones(len(rows))
    method.combine(rows, losses)
    times = []
    for _ in range(STEPS):
        start = time.process_time()
        method.combine(rows, losses)
        times.append(time.process_time() - start)
    return 1000 * sorted(times)[STEPS // 2]


if __name__ == "__main__":
    main()
