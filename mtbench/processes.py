"""Worker processes that import mtbench and nothing of the program that asked for them.

The standard library's begin with the main script of the caller. One without ``if __name__ == "__main__"`` would start
the whole benchmark once more in every worker, which then waits for a stage that the first one holds: for ever.
"""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar
from weakref import WeakSet

from loky import ProcessPoolExecutor, cpu_count

_T = TypeVar("_T")


class ProcessPool:
    """``workers`` processes that are started with the first task; close it, or use it as a context.

    ``initializer(*arguments)`` is called once in each. Nothing is forked: the caller may hold threads (torch,
    tokenizers) whose locks a fork would copy.
    """

    def __init__(self, workers: int, initializer: Callable[..., object] | None = None, *arguments: object) -> None:
        begin = (os.getpid(), initializer, arguments)
        self._executor = ProcessPoolExecutor(workers, initializer=_begin, initargs=begin)
        self._futures: WeakSet[Future[Any]] = WeakSet()

    def submit(self, function: Callable[..., _T], *arguments: object) -> Future[_T]:
        """Call ``function(*arguments)`` in a worker. BrokenProcessPool in the future's result: a worker was killed."""
        future: Future[_T] = self._executor.submit(function, *arguments)
        self._futures.add(future)
        return future

    def close(self, kill: bool = False) -> None:
        """Cancel what has not begun, and wait for the rest; or ``kill`` it."""
        for future in self._futures:
            future.cancel()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a machine has no pgrep to look for the workers' own children
            self._executor.shutdown(wait=True, kill_workers=kill)

    def __enter__(self) -> ProcessPool:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self.close(kill=error is not None)


def processors() -> int:
    """Processors that this process may use: its own share of the machine, at most ``OMP_NUM_THREADS``.

    Ray sets that variable to the processors that it has allotted to a worker. ``torchrun`` sets it to 1 for every rank,
    which says nothing: what asks here (BM25) is done by one rank of a node while the others wait, so under it the
    node's processors are meant.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    if "LOCAL_WORLD_SIZE" in os.environ or not asked.isdigit() or int(asked) < 1:
        return cpu_count()
    return min(cpu_count(), int(asked))


def _begin(parent: int, initializer: Callable[..., object] | None, arguments: tuple[object, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the caller, who closes the pool
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    if initializer is not None:
        initializer(*arguments)


def _end_with(parent: int) -> None:
    """A killed caller cannot end its workers, which would wait for tasks for ever."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
