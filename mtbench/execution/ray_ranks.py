"""One run on several GPUs under Ray: this process is rank 0, the other ranks are actors in the same placement group.

A Tune trial whose resources are :func:`rank_bundles` runs in the first bundle; :func:`run_with_ranks`, called there,
puts one follower into each of the others, on whatever nodes the group spans. Ray ends the followers with the trial;
a follower that dies makes rank 0 raise, so that Tune tries again from the last checkpoint in the store.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import ray
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from mtbench.pipeline.followers import GONE, with_ranks
from mtbench.training.ranks import TorchRanks, current_ranks

if TYPE_CHECKING:
    from ray.tune import PlacementGroupFactory

Result = TypeVar("Result")

WATCH_EVERY = 0.5
"""Seconds between two looks whether the followers are alive."""


def rank_bundles(ranks: int, cpus: float, gpus: float) -> PlacementGroupFactory:
    """The resources of a Tune trial on ``ranks`` ranks, each with so many CPUs and GPUs; on one node where they fit."""
    from ray.tune import PlacementGroupFactory

    bundle = {"CPU": cpus, "GPU": gpus} if gpus else {"CPU": cpus}
    return PlacementGroupFactory([dict(bundle) for _ in range(ranks)], strategy="PACK")


def run_with_ranks(function: Callable[[], Result], ranks: int, *, cpus: float = 1, gpus: float = 0) -> Result:
    """``function()`` in this process, as rank 0 of ``ranks``; stages built inside it are computed by all ranks.

    ``cpus`` and ``gpus`` are those of each follower. Inside a placement group with a bundle per rank, follower r takes
    bundle r; elsewhere Ray places it. Raises what ``function`` raises, RanksLostError if a follower failed alone.
    """
    if ranks == 1:
        return function()
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    group = {"WORLD_SIZE": str(ranks), "MASTER_ADDR": ray.util.get_node_ip_address(), "MASTER_PORT": str(port)}
    followers = [_start(r, ranks, cpus, gpus) for r in range(1, ranks)]
    answers = [f.follow.remote({**group, "RANK": str(r)}) for r, f in enumerate(followers, 1)]
    ended = threading.Event()
    try:
        with _environment({**group, "RANK": "0", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}):

            def watched() -> Result:
                threading.Thread(target=_watch, args=(answers, current_ranks(), ended), daemon=True).start()
                try:
                    return function()
                finally:
                    ended.set()

            result: Result = with_ranks(watched)
            return result
    finally:
        ray.wait(answers, num_returns=len(answers), timeout=10)
        for follower in followers:
            ray.kill(follower)


def _start(rank: int, ranks: int, cpus: float, gpus: float) -> Any:
    options: dict[str, Any] = {"num_cpus": cpus, "num_gpus": gpus}
    group = ray.util.get_current_placement_group()
    if group is not None and group.bundle_count >= ranks:
        options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=rank)
    return ray.remote(_Follower).options(**options).remote()


class _Follower:
    """An actor that is one rank. Ray shows it its own GPU alone."""

    def follow(self, group: dict[str, str]) -> int:
        os.environ.update({**group, "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"})
        code: int = with_ranks(_only_rank_0)
        return code


def _only_rank_0() -> None:
    raise AssertionError("a follower has a rank above 0")


def _watch(answers: list[Any], ranks: Any, ended: threading.Event) -> None:
    """Say so in the control store when a follower is gone before its time."""
    while not ended.wait(WATCH_EVERY):
        if ray.wait(answers, timeout=0)[0]:
            assert isinstance(ranks, TorchRanks) and ranks.control is not None
            ranks.control.set(GONE, "1")
            return


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
