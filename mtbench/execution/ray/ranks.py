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
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar, cast

from mtbench.pipeline.followers import GONE, with_ranks
from mtbench.training.ranks import RankPlace, Ranks, TorchRanks, current_ranks

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
    mine = RankPlace(0, ranks, 0, ranks, "127.0.0.1", _free_port())
    followers: list[subprocess.Popen[bytes]] = []
    ended = threading.Event()

    def watched() -> Result:
        threading.Thread(target=_watch, args=(followers, current_ranks(), ended), daemon=True).start()
        try:
            return function()
        finally:
            ended.set()

    try:
        followers += [_start(replace(mine, rank=rank, local_rank=rank)) for rank in range(1, ranks)]
        return cast("Result", with_ranks(watched, mine))  # rank 0 has no exit code
    finally:
        _end(followers)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _start(place: RankPlace) -> subprocess.Popen[bytes]:
    path = os.pathsep.join(p for p in sys.path if p)  # a Ray worker's path may come from its driver
    command = [sys.executable, "-P", "-m", "mtbench.pipeline.follower"]
    return subprocess.Popen(command, env={**os.environ, **place.variables, "PYTHONPATH": path})


def _watch(followers: list[subprocess.Popen[bytes]], ranks: Ranks, ended: threading.Event) -> None:
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
