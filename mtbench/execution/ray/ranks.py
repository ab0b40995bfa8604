"""One run on several GPUs of one machine under Ray: a process for each, of which the Tune trial is the first.

The trial's resources are all the GPUs of its run, so Ray places the whole run on one node. The trial is rank 0 and
reports to Tune; the followers are its children and end with it. A follower that dies makes the trial raise, so that
Tune tries again from the last checkpoint in the store. (A run over several machines: ``torchrun``.)
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from mtbench.pipeline.followers import GONE, with_ranks
from mtbench.training.ranks import TorchRanks, current_ranks

Result = TypeVar("Result")

WATCH_EVERY = 0.5
"""Seconds between two looks whether the followers are alive."""
FAREWELL = 60.0
"""Seconds that followers have to end when the run has ended."""


def run_with_ranks(function: Callable[[], Result], ranks: int) -> Result:
    """``function()`` in this process, as rank 0 of ``ranks``; stages built inside it are computed by all of them.

    Rank r takes GPU r of those that this process sees, where there are any. Raises what ``function`` raises, and
    within it RanksLostError where a follower failed alone.
    """
    if ranks == 1:
        return function()
    group = {"WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks), **_meeting_place()}
    followers: list[subprocess.Popen[bytes]] = []
    ended = threading.Event()

    def watched() -> Result:
        threading.Thread(target=_watch, args=(followers, current_ranks(), ended), daemon=True).start()
        try:
            return function()
        finally:
            ended.set()

    try:
        followers += [_start(rank, group) for rank in range(1, ranks)]
        with _environment({**group, "RANK": "0", "LOCAL_RANK": "0"}):
            result: Result = with_ranks(watched)
            return result
    finally:
        _end(followers)


def _meeting_place() -> dict[str, str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}


def _start(rank: int, group: dict[str, str]) -> subprocess.Popen[bytes]:
    path = os.pathsep.join(p for p in sys.path if p)  # a Ray worker's path may come from its driver
    own = {"RANK": str(rank), "LOCAL_RANK": str(rank), "PYTHONPATH": path}
    command = [sys.executable, "-P", "-m", "mtbench.pipeline.follower"]
    return subprocess.Popen(command, env={**os.environ, **group, **own})


def _watch(followers: list[subprocess.Popen[bytes]], ranks: Any, ended: threading.Event) -> None:
    """Say so in the control store when a follower is gone before its time."""
    while not ended.wait(WATCH_EVERY):
        if any(follower.poll() is not None for follower in followers):
            assert isinstance(ranks, TorchRanks) and ranks.control is not None
            ranks.control.set(GONE, "1")
            return


def _end(followers: list[subprocess.Popen[bytes]]) -> None:
    for follower in followers:
        with contextlib.suppress(subprocess.TimeoutExpired):
            follower.wait(FAREWELL if sys.exc_info()[0] is None else 5.0)
        if follower.poll() is None:
            follower.kill()
            follower.wait()


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {key: os.environ.get(key) for key in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value
