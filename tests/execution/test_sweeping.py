"""A sweep end to end in this process: sharing, choosing, going on, counting trials."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import pytest
from execution_cases import GRID, Local, outcome, records_in, tiny_matrix, tiny_sweep
from rich.console import Console

from mtbench.errors import ConfigError, EnvironmentMismatchError, UsageError
from mtbench.execution.estimate import estimate, paper_projection
from mtbench.execution.executors import Executor, LocalExecutor
from mtbench.execution.grid import parse_axes
from mtbench.execution.options import ExecutionOptions, PlanOptions
from mtbench.execution.planned import Job, PlannedRuns
from mtbench.execution.progress import Reporter
from mtbench.execution.show_sweep import print_sweep, sweep_summary
from mtbench.execution.sweep_plan import Setting, SweepRequest, plan_sweep
from mtbench.execution.sweeping import run_sweep


def local_executor() -> LocalExecutor:
    return LocalExecutor(Reporter(quiet=True))


def test_each_stage_is_computed_by_one_run(local: Local) -> None:
    records = records_in(local.results)
    assert len(records) == 4 and all(r["status"] == "complete" for r in records.values())
    computed = [s["fingerprint"] for r in records.values() for s in r["stages"] if not s["reused"]]
    assert len(computed) == len(set(computed))
    own = [[s["name"] for s in r["stages"] if not s["reused"]] for r in records.values()]
    assert sum(names == ["train", "encode", "evaluate"] for names in own) == 3


def test_the_choice_is_made_on_the_slice_of_train(local: Local) -> None:
    settings = local.sweep.settings
    for setting in settings:
        assert setting.selection is not None
    best = local.sweep.best()
    assert best is not None and best.selection == max(s.selection for s in settings if s.selection is not None)


def test_dev_scores_never_choose() -> None:
    def record(selection: float, dev: float) -> dict[str, Any]:
        return {"status": "complete", "selection": {"average": selection}, "average": dev}

    low = Setting("tsage", {}, [], [record(0.4, 0.9), record(0.2, 0.9)])
    high = Setting("tsage", {}, [], [record(0.3, 0.1), record(0.4, 0.1)])
    assert low.selection == pytest.approx(0.3) and high.selection == pytest.approx(0.35)
    from mtbench.execution.sweep_plan import Sweep

    sweep = Sweep(tiny_sweep("tau=1"), [low, high], None)  # type: ignore[arg-type]
    assert sweep.best() is high


def test_a_setting_with_a_missing_seed_has_no_score() -> None:
    done = {"status": "complete", "selection": {"average": 0.9}, "average": 0.9}
    lost = {"status": "failed", "error": {}}
    setting = Setting("tsage", {}, [], [done, lost])
    assert setting.selection is None and setting.average is None and setting.status == "failed"


def test_trials_stand_in_the_records_without_changing_the_run(local: Local) -> None:
    for identifier, record in records_in(local.results).items():
        assert record["tuning"]["trials"] == 4
        assert record["run_id"] == identifier


def test_an_analysed_sweep_tells_the_task_specific_share(local: Local) -> None:
    options = PlanOptions(local.store, local.results, until="analyze")
    with pytest.raises(UsageError, match="--until warmup: a sweep chooses by scores"):
        plan_sweep(tiny_sweep("tau=1"), PlanOptions(local.store, local.results, until="warmup"))
    request = tiny_sweep("tau=1,2", "beta=0", assignments=("analyze.batches=1",))
    sweep = run_sweep(request, options, local_executor())
    again = plan_sweep(request, options)
    assert [job.finished is not None for job in again.planned.jobs] == [True, True]  # one id with or without analysis
    shares = [row.get("task_specific") for row in sweep_summary(sweep)["settings"]]
    assert all(share is not None and 0 <= share <= 1 for share in shares)
    stream = io.StringIO()
    print_sweep(sweep, Console(file=stream, width=200))
    assert "task specific" in stream.getvalue()
    assert all("task_specific" not in row for row in sweep_summary(local.sweep)["settings"])


def test_more_values_compute_only_what_is_new(local: Local) -> None:
    before = {k: outcome(r) for k, r in records_in(local.results).items()}
    computed: list[str] = []

    class Counting(LocalExecutor):
        def run_jobs(self, planned: PlannedRuns, jobs: list[Job]) -> list[dict[str, Any]]:
            computed.extend(job.run_id for job in jobs)
            return super().run_jobs(planned, jobs)

    options = PlanOptions(local.store, local.results)
    sweep = run_sweep(tiny_sweep("tau=1,2,4", "beta=0"), options, Counting(Reporter(quiet=True)))
    assert len(sweep.settings) == 3 and len(computed) == 1
    after = records_in(local.results)
    assert {k: outcome(r) for k, r in after.items() if k in before} == before
    [new] = [r for k, r in after.items() if k not in before]
    assert new["tuning"]["trials"] == 5  # the four of the sweep before count too
    (local.results / "runs").joinpath("kilt@2/mini/tsage", f"{new['run_id']}.json").unlink()


def test_lines_meet_in_the_defaults(empty_store: Path, tmp_path: Path) -> None:
    taus, betas = "tau=0.5,1,2,4,8,16", "beta=0,0.5,0.9,0.99,0.999,0.9999"
    sweep = plan_sweep(tiny_sweep(taus, betas, lines=True, episodes=4), PlanOptions(empty_store, tmp_path / "r"))
    assert len(sweep.settings) == len(sweep.planned.jobs) == 11
    cost = estimate(sweep.planned)
    assert 0.1 < cost.share < 0.45
    paper = paper_projection(sweep.planned)
    assert paper is not None and 0.15 < paper.share < 0.22


def test_settings_of_the_pipeline_can_be_swept(empty_store: Path, tmp_path: Path) -> None:
    request = tiny_sweep("train.lr=0.001,0.005", "tau=1,2", optimizers=("naive", "tsage"))
    sweep = plan_sweep(request, PlanOptions(empty_store, tmp_path / "r"))
    by_name = {name: [s.values for s in sweep.settings if s.optimizer == name] for name in ("naive", "tsage")}
    assert by_name["naive"] == [{"train.lr": 0.001}, {"train.lr": 0.005}]  # tau means nothing to it
    assert len(by_name["tsage"]) == 4


def test_an_unknown_key_is_named(empty_store: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="tua"):
        plan_sweep(tiny_sweep("tua=1"), PlanOptions(empty_store, tmp_path / "r"))


def test_a_sweep_without_a_slice_of_train_is_refused(empty_store: Path, tmp_path: Path) -> None:
    request = SweepRequest(tiny_matrix(assignments=("data.selection_queries=0",)), tuple(parse_axes(["tau=1"])))
    with pytest.raises(ConfigError, match="selection_queries"):
        plan_sweep(request, PlanOptions(empty_store, tmp_path / "r"))


def test_options_that_exclude_each_other() -> None:
    request = tiny_sweep("tau=1,2", lines=True)
    with pytest.raises(UsageError, match="--lines"):
        dataclasses.replace(request, trials=2)
    with pytest.raises(UsageError, match="--sampler"):
        dataclasses.replace(request, sampler="grid")
    with pytest.raises(UsageError, match="executor ray"):
        ExecutionOptions("local", scheduler="asha")


def test_optuna_is_optional(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    request = dataclasses.replace(tiny_sweep("tau=1,2"), trials=2, sampler="optuna")
    with pytest.raises(EnvironmentMismatchError, match="pip install optuna"):
        run_sweep(request, PlanOptions(empty_store, tmp_path / "r"), local_executor())


def test_the_table_names_the_best_setting_and_its_command(local: Local) -> None:
    stream = io.StringIO()
    print_sweep(local.sweep, Console(file=stream, width=200))
    text = stream.getvalue()
    assert "best" in text and "selection" in text and "mtbench run --optimizer tsage --suite kilt" in text
    summary = json.loads(json.dumps(sweep_summary(local.sweep), allow_nan=False))
    assert summary["trials"] == 4 and len(summary["settings"]) == 4
    assert summary["best"]["selection"] == max(s["selection"] for s in summary["settings"])
    assert set(GRID) and summary["best"]["values"].keys() == {"tau", "beta"}


def test_optuna_goes_towards_the_best_and_asks_nothing_twice(empty_store: Path, tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="Optuna is optional")
    computed: list[str] = []

    class Scoring(Executor):
        def run_jobs(self, planned: PlannedRuns, jobs: list[Job]) -> list[dict[str, Any]]:
            computed.extend(job.run_id for job in jobs)
            return [
                {
                    "run_id": job.run_id,
                    "status": "complete",
                    "spec": job.plan.run.specification,
                    "selection": {"average": 1 - abs(job.plan.run.optimizer["params"]["tau"] - 3) / 10},
                    "tasks": {},
                }
                for job in jobs
            ]

    request = dataclasses.replace(
        tiny_sweep("tau=0.1:10:log", "beta=0,0.9"),
        trials=12,
        sampler="optuna",
        execution=ExecutionOptions(max_concurrent=3),
    )
    options, executor = PlanOptions(empty_store, tmp_path / "r"), Scoring(Reporter(quiet=True))
    sweep = run_sweep(request, options, executor)
    best = sweep.best()
    assert len(sweep.settings) == 12 and best is not None and abs(best.values["tau"] - 3) < 2
    first = len(computed)
    run_sweep(request, options, executor)
    assert len(computed) == first
