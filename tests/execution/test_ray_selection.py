"""What ASHA compares: the suite's own metric on the slice of train, and no start where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
from execution_cases import records_in
from tiny_suite import SETTINGS, write_suite

from mtbench.errors import ConfigError
from mtbench.execution.executors import LocalExecutor
from mtbench.execution.grid import Axis
from mtbench.execution.matrix import RunMatrix
from mtbench.execution.options import ExecutionOptions, PlanOptions
from mtbench.execution.planned import PlannedRuns, plan_runs
from mtbench.execution.progress import Reporter
from mtbench.execution.ray.driver import Driver
from mtbench.execution.ray.executor import RayExecutor
from mtbench.execution.ray.experiment import make_scheduler, take_away
from mtbench.execution.ray.messages import UnitReport
from mtbench.execution.ray.selection import selection_score
from mtbench.execution.ray.share import Share
from mtbench.execution.ray.worker import run_unit
from mtbench.execution.sweep_plan import SweepRequest
from mtbench.execution.sweeping import run_sweep

ASHA = ExecutionOptions("ray", max_concurrent=1, scheduler="asha")


def suite_with_metric(folder: Path, metric: str, queries: int = 40) -> Path:
    """The tiny suite, ranked by ``metric``; a quarter of each task's queries is dev."""
    file = write_suite(folder / "tiny", queries=queries) / "suite.toml"
    file.write_text(file.read_text().replace('metric = "rprecision_page"', f'metric = "{metric}"'))
    return folder / "tiny"


def matrix(suite: Path) -> RunMatrix:
    """One method that acts from the first of two episodes on."""
    return RunMatrix(["tsage"], str(suite), assignments=[*SETTINGS, "train.start_episode=1"], baselines=())


def plan(suite: Path) -> PlannedRuns:
    return plan_runs(matrix(suite), PlanOptions(suite.parent / "store", suite.parent / "results"))


def unscored_plan(folder: Path) -> PlannedRuns:
    """Nine training queries a task, of which a tenth is none: nothing to choose settings by."""
    return plan(suite_with_metric(folder, "ndcg@10", queries=12))


def driver_of(planned: PlannedRuns) -> Driver:
    return Driver(planned, ASHA, Share(1, 1, 0), Reporter(quiet=True))


def worker_reports(driver: Driver) -> list[UnitReport]:
    """Everything that a worker tells about the only run."""
    reports: list[UnitReport] = []
    config = driver.next_config()
    assert config is not None
    driver.outbox.mkdir(parents=True, exist_ok=True)
    run_unit(config, reports.append)
    return reports


@pytest.mark.parametrize("metric", ["ndcg@10", "rprecision_page"])
def test_a_worker_reports_the_suites_own_metric(tmp_path: Path, metric: str) -> None:
    planned = plan(suite_with_metric(tmp_path, metric))
    driver = driver_of(planned)
    scores = {r["episode"]: r["selection"] for r in worker_reports(driver) if "selection" in r}
    [record] = records_in(driver.outbox).values()
    tasks = record["selection"]["tasks"].values()
    assert record["metric"] == metric and set(scores) == {1, 2}
    assert scores[2] == record["selection"]["average"] == pytest.approx(sum(t["metrics"][metric] for t in tasks) / 3)
    assert make_scheduler("asha", planned) is not None


def test_without_the_suites_metric_the_scheduler_does_not_start(tmp_path: Path) -> None:
    planned = unscored_plan(tmp_path)
    driver = driver_of(planned)
    reports = worker_reports(driver)
    assert not any("selection" in report for report in reports)
    [unit] = driver.queue.units.values()
    for report in reports:
        driver.advanced(unit, report)
    told = str(driver.refusal)
    assert "ndcg@10" in told and "ask, claim, slot have" in told
    assert driver.exhausted and driver.next_config() is None
    with pytest.raises(ConfigError, match=r"--scheduler asha compares settings by ndcg@10"):
        make_scheduler("asha", planned)  # with a scored model in the store it is known before the start


def test_a_worker_that_outlives_its_experiment_leaves_nothing(tmp_path: Path) -> None:
    driver = driver_of(plan(suite_with_metric(tmp_path, "ndcg@10")))
    driver.outbox.mkdir(parents=True)
    config = driver.next_config()
    assert config is not None

    def over(report: UnitReport) -> None:
        if report.get("finished") and driver.outbox.exists():
            assert records_in(driver.outbox)
            take_away(driver.outbox)

    with pytest.raises(FileNotFoundError):
        run_unit(config, over)
    assert not list(driver.outbox.parent.iterdir())


@pytest.mark.ray
@pytest.mark.slow
def test_a_sweep_without_scores_ends_as_soon_as_the_first_model_shows_it(two_nodes: None, tmp_path: Path) -> None:
    planned = unscored_plan(tmp_path)
    with pytest.raises(ConfigError, match="ndcg@10"):
        RayExecutor(ASHA, Reporter(quiet=True)).run(planned)
    assert {r["status"] for r in records_in(tmp_path / "results").values()} <= {"interrupted"}
    assert not list((tmp_path / "store" / "ray").iterdir())
    assert not list((tmp_path / "store" / "stages").glob("train/*"))


@pytest.mark.ray
@pytest.mark.slow
def test_asha_stops_the_setting_that_is_behind(two_nodes: None, tmp_path: Path) -> None:
    suite = suite_with_metric(tmp_path, "ndcg@10")
    rates = ("0.05", "1e-9")
    scores: dict[str, float] = {}
    for rate in rates:
        options = PlanOptions(tmp_path / "alone", tmp_path / "alone-results")
        alone = plan_runs(matrix(suite).with_assignments([f"train.lr={rate}"]), options)
        LocalExecutor(Reporter(quiet=True)).run(alone)
        plan_ = alone.jobs[0].plan
        scored = alone.store.open("evaluate", plan_.evaluations[1].key)
        assert scored is not None
        scores[rate] = selection_score(plan_.run, scored) or 0.0
    assert scores[rates[0]] != scores[rates[1]]
    best_first = tuple(sorted(rates, key=lambda rate: -scores[rate]))
    request = SweepRequest(matrix(suite), (Axis("train.lr", best_first),), execution=ASHA)
    options = PlanOptions(tmp_path / "store", tmp_path / "results")
    ahead, behind = run_sweep(request, options, RayExecutor(ASHA, Reporter(quiet=True))).settings
    assert ahead.status == "complete" and behind.status == "interrupted"
    assert behind.records[0]["error"]["type"] == "Stopped"
