"""Which units can start when: stages that several runs need, each once and first, then the runs themselves.

The stages of all runs form one graph. A chain of stages that the same several runs need is one unit, for one worker;
it ends with the vectors of a model, because scoring them and mining with them can go on side by side. A run is a unit
that starts when everything it shares is finished. So no worker waits for another one's stage, and no stage is computed
twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from mtbench.execution.planned import Job
from mtbench.pipeline.demand import all_demanded
from mtbench.pipeline.plan import Stage
from mtbench.storage.store import Store


@dataclass
class Unit:
    """What one worker does: shared ``stages`` of ``job``'s plan, or, if there are none, the whole of ``job``."""

    number: int
    job: Job
    stages: tuple[Stage, ...] = ()
    needs: set[int] = field(default_factory=set)
    runs: int = 1
    """How many runs wait for it."""

    @property
    def is_run(self) -> bool:
        """Whether it ends in a record."""
        return not self.stages

    @property
    def label(self) -> str:
        """For people."""
        return self.job.label if self.is_run else f"shared by {self.runs} runs"


def make_units(jobs: Sequence[Job], store: Store, until: str | None = None) -> list[Unit]:
    """Units in an order in which they can run, the shared ones first; none for stages that nobody needs."""
    plans = [job.plan.until(until) for job in jobs]
    users: dict[str, set[int]] = {}
    for number, plan in enumerate(plans):
        for stage in plan:
            users.setdefault(stage.key, set()).add(number)
    missing = all_demanded(plans, store.has)
    units: list[Unit] = []
    home: dict[str, Unit] = {}
    for job, plan in zip(jobs, plans, strict=True):
        for stage in plan:
            if len(users[stage.key]) > 1 and stage.key in missing and stage.key not in home:
                _place(stage, job, units, home, users)
    for job, plan in zip(jobs, plans, strict=True):
        needs = {home[stage.key].number for stage in plan if stage.key in home}
        units.append(Unit(len(units), job, (), needs))
    return units


def _place(stage: Stage, job: Job, units: list[Unit], home: dict[str, Unit], users: dict[str, set[int]]) -> None:
    """Append the stage to the unit of the stage before it, if the same runs need both; else begin a unit."""
    before = [home[s.key] for s in stage.inputs.values() if s.key in home]
    last = max(before, key=lambda unit: unit.number, default=None)
    joins = (
        last is not None
        and last.stages[-1].name != "encode"  # a model's scoring and the next episode's mining go on side by side
        and users[last.stages[-1].key] == users[stage.key]
    )
    if last is not None and joins:
        last.stages += (stage,)
        last.needs |= {unit.number for unit in before} - {last.number}
        home[stage.key] = last
        return
    unit = Unit(len(units), job, (stage,), {u.number for u in before}, len(users[stage.key]))
    units.append(unit)
    home[stage.key] = unit


class UnitQueue:
    """The units that wait, and which of them can start; those under way, done or failed."""

    def __init__(self, units: Sequence[Unit], at_once: int | None = None) -> None:
        self.units = {unit.number: unit for unit in units}
        self._at_once = at_once
        self._waiting = dict(self.units)
        self._live: set[int] = set()
        self.done: set[int] = set()
        self.failed: dict[int, int] = {}
        """Unit -> the unit whose failure stopped it (itself if it failed by itself)."""

    @property
    def unfinished(self) -> bool:
        """Whether anything is left to do or under way."""
        return bool(self._waiting or self._live)

    @property
    def exhausted(self) -> bool:
        """Whether nothing is left to start."""
        return not self._waiting

    def start(self) -> Unit | None:
        """The next unit that can start now; None if none can."""
        if self._at_once is not None and len(self._live) >= self._at_once:
            return None
        unit = next((u for u in self._waiting.values() if u.needs <= self.done), None)
        if unit is not None:
            del self._waiting[unit.number]
            self._live.add(unit.number)
        return unit

    def finish(self, number: int, failed: bool) -> list[Unit]:
        """Unit ``number`` ended; the units that can never start because it failed."""
        self._live.discard(number)
        if not failed:
            self.done.add(number)
            return []
        self.failed[number] = number
        lost: list[Unit] = []
        for unit in list(self._waiting.values()):
            if unit.needs & set(self.failed):
                del self._waiting[unit.number]
                self.failed[unit.number] = number
                lost.append(unit)
        return lost
