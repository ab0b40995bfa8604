"""Which units a sweep falls into and in which order they may start."""

from __future__ import annotations

from pathlib import Path

import pytest
from execution_cases import tiny_sweep

from mtbench.execution.options import PlanOptions
from mtbench.execution.schedule import Unit, UnitQueue, make_units
from mtbench.execution.sweep_plan import Sweep, plan_sweep


@pytest.fixture(scope="module")
def sweep(empty_store: Path) -> Sweep:
    request = tiny_sweep("tau=1,2,4", episodes=3, seeds=[0, 1])
    return plan_sweep(request, PlanOptions(empty_store, empty_store.parent / "none"))


@pytest.fixture
def units(sweep: Sweep) -> list[Unit]:
    return make_units(sweep.planned.jobs, sweep.planned.store)


def test_every_shared_stage_is_in_one_unit(sweep: Sweep, units: list[Unit]) -> None:
    users: dict[str, int] = {}
    for job in sweep.planned.jobs:
        for stage in job.plan.until(None):
            users[stage.key] = users.get(stage.key, 0) + 1
    placed = [stage.key for unit in units for stage in unit.stages]
    assert sorted(placed) == sorted(key for key, count in users.items() if count > 1)


def test_needs_cover_every_input(units: list[Unit]) -> None:
    home = {stage.key: unit.number for unit in units for stage in unit.stages}
    for unit in units:
        stages = unit.stages or unit.job.plan.until(None)
        for stage in stages:
            for parent in stage.inputs.values():
                assert home.get(parent.key, unit.number) in {unit.number, *unit.needs}


def test_runs_start_when_what_they_share_is_done(units: list[Unit]) -> None:
    queue = UnitQueue(units)
    order: list[Unit] = []
    while queue.unfinished:
        unit = queue.start()
        assert unit is not None, "work is left but nothing can start: the graph has a cycle"
        assert unit.needs <= queue.done
        order.append(unit)
        queue.finish(unit.number, failed=False)
    assert len(order) == len(units)
    assert sum(unit.is_run for unit in order) == 6


def test_seeds_go_on_side_by_side(units: list[Unit]) -> None:
    queue = UnitQueue(units)
    first = queue.start()
    assert first is not None and [s.name for s in first.stages] == ["prepare", "bm25"]
    assert queue.start() is None
    queue.finish(first.number, failed=False)
    second, third = queue.start(), queue.start()
    assert second is not None and third is not None
    assert {second.job.plan.run.request.seed, third.job.plan.run.request.seed} == {0, 1}


def test_scoring_a_model_does_not_hold_up_the_next_episode(units: list[Unit]) -> None:
    for unit in units:
        names = [stage.name for stage in unit.stages]
        if "evaluate" in names:
            assert names == ["evaluate"]


def test_no_more_than_allowed_at_once(units: list[Unit]) -> None:
    queue = UnitQueue(units, at_once=1)
    assert queue.start() is not None
    assert queue.start() is None


def test_a_failure_stops_what_needs_it_and_nothing_else(units: list[Unit]) -> None:
    queue = UnitQueue(units)
    first = queue.start()
    assert first is not None
    queue.finish(first.number, failed=False)
    broken, sound = queue.start(), queue.start()
    assert broken is not None and sound is not None
    lost = queue.finish(broken.number, failed=True)
    seed = broken.job.plan.run.request.seed
    assert {u.job.plan.run.request.seed for u in lost} == {seed}
    assert sum(u.is_run for u in lost) == 3
    queue.finish(sound.number, failed=False)
    while (unit := queue.start()) is not None:
        queue.finish(unit.number, failed=False)
    assert not queue.unfinished
    assert sum(u.is_run for u in units if u.number in queue.done) == 3


def test_stages_in_the_store_need_no_unit(sweep: Sweep, units: list[Unit], monkeypatch: pytest.MonkeyPatch) -> None:
    store = sweep.planned.store
    monkeypatch.setattr(store, "has", lambda name, key: name in ("prepare", "bm25"))
    left = make_units(sweep.planned.jobs, store)
    assert "prepare" not in {s.name for u in left for s in u.stages}
    assert len(left) == len(units) - 1


def test_a_plan_leaves_nothing_behind(empty_store: Path, tmp_path: Path) -> None:
    plan_sweep(tiny_sweep("tau=1,2"), PlanOptions(empty_store, tmp_path / "results"))
    assert not (tmp_path / "results").exists()
    assert not (empty_store / "stages").exists()
