"""The same steps on several ranks, each with a slice of the coordinates: threads that reduce together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from mtbench.optim import Layout, MultitaskOptimizer


class Together:
    """Reductions over ranks that are threads: each gives its part, all get the result."""

    def __init__(self, ranks: int) -> None:
        self._parts: list[Tensor] = [torch.empty(0)] * ranks
        self._barrier = threading.Barrier(ranks, timeout=60)

    def of(self, rank: int, join: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        def reduce(part: Tensor) -> Tensor:
            self._parts[rank] = part
            self._barrier.wait()
            result = join(torch.stack(self._parts))
            self._barrier.wait()
            return result

        return reduce

    def abort(self) -> None:
        self._barrier.abort()


def sliced_run(
    make: Callable[[], MultitaskOptimizer],
    steps: Sequence[tuple[Tensor, Tensor]],
    cuts: Sequence[int],
    layout: Layout | None = None,
    missing: Sequence[int] = (),
    **start: Any,
) -> tuple[list[Tensor], list[MultitaskOptimizer]]:
    """The updates (d,) of ``steps`` (gradients (K, d), losses (K,)) on ``len(cuts) + 1`` ranks, and their optimizers.

    ``missing``: tasks that stay away from every second step.
    """
    num_tasks, size = steps[0][0].shape
    edges = [0, *cuts, size]
    ranks = len(edges) - 1
    together, parts, failed = Together(ranks), [[] for _ in range(ranks)], []  # type: ignore[var-annotated]
    opts = [make() for _ in range(ranks)]

    def work(rank: int) -> None:
        low, high = edges[rank], edges[rank + 1]
        opt = opts[rank]
        opt.reduce_sum = together.of(rank, lambda parts: parts.sum(0))
        opt.reduce_max = together.of(rank, lambda parts: parts.amax(0))
        opt.offset = low
        own = None if layout is None else [(n, clip(a, low, high), clip(b, low, high)) for n, a, b in layout]
        theta = torch.linspace(-1, 1, size, dtype=steps[0][0].dtype)[low:high]
        opt.start(theta, num_tasks, 100, layout=own, **start)
        for number, (gradients, losses) in enumerate(steps):
            opt.begin_step(number, losses.tolist() if opt.needs_losses else None)
            for k in range(num_tasks):
                if number % 2 == 0 or k not in missing:
                    opt.task(k, gradients[k, low:high], losses[k])
            out = torch.empty(high - low, dtype=gradients.dtype)
            assert opt.finish(out)
            parts[rank].append(out)

    def guarded(rank: int) -> None:
        try:
            work(rank)
        except BaseException as error:  # noqa: BLE001 - told by the thread that waits
            failed.append(error)
            together.abort()

    threads = [threading.Thread(target=guarded, args=(rank,)) for rank in range(ranks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise next((e for e in failed if not isinstance(e, threading.BrokenBarrierError)), failed[0])
    return [torch.cat(pieces) for pieces in zip(*parts, strict=True)], opts


def clip(place: int, low: int, high: int) -> int:
    """A place of the whole vector in the slice from ``low`` to ``high``."""
    return min(max(place, low), high) - low
