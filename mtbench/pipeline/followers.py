"""One run on several ranks: rank 0 leads, the others help with the stages that are computed together.

Rank 0 alone plans, holds the store's leases, writes stages and records, and prints. For each stage that ranks compute
together it names the stage to the others, which make the same plan from the same request and compute their part. After
each such stage every rank says how it ended; ranks that all stopped with one error go on to the next run, and a
failure of one alone ends all, since its partners wait in exchanges that it never joins.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypedDict, TypeVar

from mtbench.errors import MtbenchError, RunError
from mtbench.pipeline import stages
from mtbench.pipeline.context import Context
from mtbench.pipeline.plan import Stage, make_plan
from mtbench.pipeline.request import RunRequest
from mtbench.pipeline.resolver import Resolver
from mtbench.storage.manifest import Results
from mtbench.storage.store import Store
from mtbench.training.ranks import PATIENCE, RankPlace, TorchRanks, join_ranks, leave_ranks

Result = TypeVar("Result")

TOGETHER = {"warmup", "train", "encode", "mine", "evaluate", "retrieve", "study", "read"}
"""Stages that all ranks compute; the others are rank 0's alone."""
GRACE = 10.0
"""Seconds that a rank that failed gives the others to end by themselves, before it breaks their exchanges off."""
LAST_WORD = 30.0
"""Seconds after that in which the others can still say what went wrong."""
FAREWELL = 5.0
GONE = "gone"
"""Set by whoever started the ranks and saw one of them die."""


class StageOrder(TypedDict):
    """What rank 0 asks of the others: a stage (its fingerprint) of a request (as JSON); ``work``: the folder for it."""

    request: str
    store: str
    stage: str
    work: str


class Failure(TypedDict):
    """How a rank's part of a stage failed; ``order`` counts failures as they came."""

    type: str
    message: str
    order: int


Known = dict[str, tuple[Context, dict[str, Stage]]]
"""By request (as JSON): its context, and its stages by fingerprint."""
Verdict = dict[int, Failure]
"""The ranks that failed, and how."""

LEFT: Failure = {
    "type": "ConnectionError",
    "message": "it ended without an error (killed, or its machine is gone)",
    "order": 0,
}


class RanksLostError(RunError):
    """A rank failed alone; the group cannot go on, another attempt can."""


class Leader:
    """Rank 0's side."""

    def __init__(self, ranks: TorchRanks) -> None:
        self.ranks, self._number, self._lost = ranks, 0, ""

    def compute(self, context: Context, stage: Stage, work: Path) -> Results | None:
        """:func:`stages.compute` with the help of the other ranks, where the stage is one of theirs."""
        if stage.name not in TOGETHER:
            return stages.compute(context, stage, work)
        if self._lost:
            raise RanksLostError(f"not computed: {self._lost} earlier. The same command goes on from what is stored")
        order: StageOrder = {
            "request": context.run.request.to_json(),
            "store": str(context.store.root.resolve()),
            "stage": stage.key,
            "work": str(work.resolve()),
        }
        self._number += 1
        self._send(order)
        done, error = _attempt(lambda: stages.compute(context, stage, work))
        verdict = _close(self.ranks, self._number, error)
        if verdict and (error is None or not _in_step(verdict)):
            rank, first = min(verdict.items(), key=lambda item: item[1]["order"])
            self._lost = f"rank {rank} failed in {stage.label}"
            if first["type"] == "KeyboardInterrupt":
                raise KeyboardInterrupt
            cause = error or RuntimeError(first["message"])
            raise RanksLostError(f"{self._lost}: {first['type']}: {first['message']}") from cause
        if error is not None:
            raise error
        return done

    def dismiss(self) -> None:
        """The others may go. Waits until they know: the control store may live in this process."""
        self._number += 1
        self._send(None)
        _missing(self.ranks, self._number, 0.0 if self._lost else FAREWELL)

    def _send(self, order: StageOrder | None) -> None:
        assert self.ranks.control is not None
        self.ranks.control.set(f"order/{self._number}", json.dumps(order))


def follow(ranks: TorchRanks) -> int:
    """What the other ranks do until rank 0 dismisses them; the exit code."""
    assert ranks.control is not None
    known: Known = {}
    number = 0
    while True:
        number += 1
        try:
            ranks.control.wait([f"order/{number}"], PATIENCE)
            order: StageOrder | None = json.loads(ranks.control.get(f"order/{number}"))
        except RuntimeError:
            print(f"mtbench: rank {ranks.rank}: rank 0 has gone", file=sys.stderr, flush=True)
            return 1
        if order is None:
            ranks.control.set(f"end/{number}/{ranks.rank}", "null")
            return 0
        _, error = _attempt(partial(_help, order, known))
        verdict = _close(ranks, number, error)
        if verdict and not _in_step(verdict):
            if error is not None:
                print(f"mtbench: rank {ranks.rank}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            return 1


def _help(order: StageOrder, known: Known) -> None:
    """This rank's part of a stage."""
    key = order["request"]
    if key not in known:
        from mtbench.registry import add_plugin_files

        request, root = RunRequest.from_json(key), Path(order["store"])
        add_plugin_files(list(request.plugins))
        plan = make_plan(Resolver(root).resolve(request))
        known.clear()
        known[key] = Context(plan.run, Store(root)), {stage.key: stage for stage in plan.stages}
    context, planned = known[key]
    if order["stage"] not in planned:
        raise RunError("the ranks plan different stages; do all of them see one version, one suite and one store?")
    stages.compute(context, planned[order["stage"]], Path(order["work"]))


def _attempt(compute: Callable[[], Result]) -> tuple[Result | None, BaseException | None]:
    try:
        return compute(), None
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - raised again once the others know of it
        return None, error


def _close(ranks: TorchRanks, number: int, error: BaseException | None) -> Verdict:
    """Tell the others how this rank's part ended, and hear how theirs did: the failures, by rank."""
    control = ranks.control
    assert control is not None
    mine: Failure | None = None
    if error is not None:
        mine = {"type": type(error).__name__, "message": str(error), "order": control.add(f"failures/{number}", 1)}
    control.set(f"end/{number}/{ranks.rank}", json.dumps(mine))
    missing = _missing(ranks, number, GRACE if error is not None else None)
    if missing:
        leave_ranks()  # whoever waits for this rank in an exchange gets an error there
        missing = _missing(ranks, number, LAST_WORD)
    ends: dict[int, Failure | None] = {
        r: LEFT if r in missing else json.loads(control.get(f"end/{number}/{r}")) for r in range(ranks.size)
    }
    return {r: failure for r, failure in ends.items() if failure is not None}


def _missing(ranks: TorchRanks, number: int, seconds: float | None) -> list[int]:
    """The ranks that have not said how they ended after ``seconds`` (None: as long as nobody has failed)."""
    assert ranks.control is not None
    limit = None if seconds is None else time.monotonic() + seconds
    pause = 0.001
    while True:
        missing = [r for r in range(ranks.size) if r != ranks.rank and not ranks.control.check([f"end/{number}/{r}"])]
        if not missing or (limit is not None and time.monotonic() > limit):
            return missing
        if ranks.control.check([GONE]):
            limit = min(math.inf if limit is None else limit, time.monotonic() + 1.0)
        elif limit is None and ranks.control.add(f"failures/{number}", 0):
            limit = time.monotonic() + GRACE + LAST_WORD
        time.sleep(pause)
        pause = min(2 * pause, 0.2)


def _in_step(verdict: Verdict) -> bool:
    """Whether the group is whole: all ranks stopped with one error, or rank 0 alone when the others were done."""
    return 0 in verdict and len({(v["type"], v["message"]) for v in verdict.values()}) == 1


# -- starting and ending ---------------------------------------------------------------------------------------------

_leaders: list[Leader] = []


def current_leader() -> Leader | None:
    """Rank 0's leader while several ranks are at work."""
    return _leaders[-1] if _leaders else None


def with_ranks(main: Callable[[], Result], place: RankPlace | None = None) -> Result | int:
    """Join the other processes (:func:`join_ranks`); rank 0 returns ``main()``, the others help it and return their
    exit code."""
    ranks = join_ranks(place)
    try:
        if ranks.rank:
            return follow(ranks)
        leader = Leader(ranks)
        _leaders.append(leader)
        try:
            return main()
        finally:
            _leaders.clear()
            leader.dismiss()
    except MtbenchError as error:
        if ranks.rank:
            print(f"mtbench: rank {ranks.rank}: {error}", file=sys.stderr, flush=True)
            return error.exit_code
        raise
    finally:
        leave_ranks()
