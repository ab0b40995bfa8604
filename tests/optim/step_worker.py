"""What each of several processes does in ``test_step_ranks.py``: train a small model in a plain torch loop.

RANK=0 WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=... python step_worker.py FOLDER
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from mtbench.optim import MultitaskStep, average_over_ranks

TASKS = ["nq", "fever", "wow"]
STEPS, ROWS = 4, 8
METHODS = ["naive", "pcgrad", "tsage", "gradnorm", "famo", "stch", "graddrop"]
WAYS = ["reduce", "wrapped", "wrapped in buckets", "wrapped, accumulating"]


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 1)).double()


def loss_of(net: nn.Module, step: int, task: int, rows: slice) -> Tensor:
    generator = torch.Generator().manual_seed(100 * step + task)
    x = torch.randn(ROWS, 5, generator=generator, dtype=torch.float64)[rows]
    return nn.functional.mse_loss(net(x), x[:, task : task + 1] * (task - 1.5))


def train(method: str, parts: list[slice], wrap: str | None = None, **hooks: Any) -> Tensor:
    """The parameters after some steps; each of ``parts`` of a task's batch is a backward pass."""
    net: Any = model()
    step = MultitaskStep(method, net.named_parameters(), TASKS, STEPS, **hooks)
    parameters = list(net.parameters())
    if wrap is not None:
        net = DistributedDataParallel(net, gradient_as_bucket_view="buckets" in wrap)
    adam = torch.optim.AdamW(parameters, lr=0.05)
    for number in range(STEPS):
        with step.step():
            for k, task in enumerate(TASKS):
                for i, part in enumerate(parts):
                    last = i == len(parts) - 1
                    with contextlib.nullcontext() if wrap is None or last else net.no_sync():
                        step.backward(task, loss_of(net, number, k, part) / len(parts))
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        adam.step()
        step.after_step(lambda n=number: again(net, n, parts, hooks.get("reduce_loss")))
        adam.zero_grad()
    return torch.cat([p.detach().reshape(-1) for p in parameters])


def again(net: nn.Module, number: int, parts: list[slice], average: Any) -> list[float]:
    """The losses of the step's batches once more, over all ranks."""
    whole = slice(parts[0].start, parts[-1].stop)
    with torch.no_grad():
        losses = torch.stack([loss_of(net, number, k, whole) for k in range(len(TASKS))])
    if average is not None:
        average(losses)
    return list(losses.tolist())


def halves(start: int, stop: int) -> list[slice]:
    middle = (start + stop) // 2
    return [slice(start, middle), slice(middle, stop)]


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    rank = distributed.get_rank()
    own = slice(rank * ROWS // 2, (rank + 1) * ROWS // 2)
    for method in METHODS:
        for way in WAYS:
            hooks = {"reduce_loss": average_over_ranks} | ({"reduce": average_over_ranks} if way == "reduce" else {})
            parts = halves(own.start, own.stop) if "accumulating" in way else [own]
            found = train(method, parts, None if way == "reduce" else way, **hooks)
            torch.save(found, folder / f"{method}-{way}-{rank}.pt")
    distributed.destroy_process_group()


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main(Path(sys.argv[1]))
