"""Running a sweep. It keeps nothing of its own: stages are in the store, numbers in the records, so that the same
command goes on where it stopped and more values compute only what is new.
"""

from __future__ import annotations

from mtbench.execution.executors import Executor
from mtbench.execution.options import PlanOptions
from mtbench.execution.sweep_plan import Sweep, SweepPlanner, SweepRequest, fill_records
from mtbench.records.files import load_records, write_record
from mtbench.records.identity import run_id
from mtbench.records.record import RunSpec
from mtbench.storage.mirror import offer_results


def run_sweep(request: SweepRequest, options: PlanOptions, executor: Executor) -> Sweep:
    """The sweep with the records of its settings; each says how many settings were tried."""
    planner = SweepPlanner(request, options)
    if request.learns:
        from mtbench.execution.optuna_rounds import optuna_settings

        sweep = planner.sweep(optuna_settings(planner, executor))
    else:
        sweep = planner.sweep(planner.settings(request.points()))
        fill_records(sweep.settings, executor.run(sweep.planned))
    _note_trials(sweep)
    offer_results(sweep.planned.results)
    return sweep


def _note_trials(sweep: Sweep) -> None:
    """Write into each finished record how many settings of its optimizer were tried, earlier sweeps included.

    It stands beside the specification, so that the run keeps its identity.
    """
    for name in dict.fromkeys(s.optimizer for s in sweep.settings):
        mine = [s for s in sweep.settings if s.optimizer == name]
        spec = mine[0].jobs[0].plan.run.specification
        tried = {_without_seed(s.jobs[0].plan.run.specification) for s in mine} | _tried_before(sweep, spec)
        for record in (r for s in mine for r in s.records):
            if record["status"] == "complete" and record.get("tuning", {}).get("trials") != len(tried):
                record["tuning"] = {**record.get("tuning", {}), "trials": len(tried)}
                write_record(sweep.planned.results, record)


def _tried_before(sweep: Sweep, spec: RunSpec) -> set[str]:
    place = f"{spec['suite']}@{spec['suite_version']}"
    loaded = load_records(sweep.planned.results, suite=place, profile=spec["profile"], summary=True)
    return {
        _without_seed(item.record["spec"])
        for item in loaded
        if item.usable
        and item.record.get("tuning", {}).get("trials")
        and item.record["spec"]["optimizer"]["name"] == spec["optimizer"]["name"]
        and item.record["spec"].get("limit") == spec["limit"]
    }


def _without_seed(spec: RunSpec) -> str:
    return run_id({**spec, "seed": 0})
