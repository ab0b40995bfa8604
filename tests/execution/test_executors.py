"""Executors: what stands already, what is computed, what fails, and what goes to the mirror."""

from __future__ import annotations

from pathlib import Path

import pytest
from execution_cases import records_in
from tiny_suite import SETTINGS, write_suite

import mtbench
from mtbench.execution.choose import make_executor
from mtbench.execution.executors import LocalExecutor
from mtbench.execution.matrix import RunMatrix
from mtbench.execution.options import ExecutionOptions, PlanOptions
from mtbench.execution.planned import Job, PlannedRuns, plan_runs
from mtbench.execution.progress import Reporter
from mtbench.records.record import RunRecord


@pytest.fixture
def matrix(tmp_path: Path) -> RunMatrix:
    """Two seeds of the tiny suite, as far as the data."""
    suite = write_suite(tmp_path / "tiny")
    return RunMatrix(["naive"], str(suite), seeds=[0, 1], assignments=list(SETTINGS), baselines=())


class Seen(LocalExecutor):
    """Remembers what it was given to run."""

    def run_jobs(self, planned: PlannedRuns, jobs: list[Job]) -> list[RunRecord]:
        self.seen = [job.run_id for job in jobs]
        return super().run_jobs(planned, jobs)


def test_records_come_in_the_order_of_the_jobs_and_only_what_is_missing_runs(matrix: RunMatrix, tmp_path: Path) -> None:
    options = PlanOptions(tmp_path / "store", tmp_path / "results", until="prepare")
    first, second = plan_runs(matrix, options).jobs
    executor = Seen(Reporter(quiet=True))
    planned = plan_runs(matrix, options)
    planned.jobs[0].finished = {"run_id": first.run_id}  # type: ignore[typeddict-item]
    records = executor.run(planned)
    assert [record["run_id"] for record in records] == [first.run_id, second.run_id]
    assert executor.seen == [second.run_id] and set(records_in(tmp_path / "results")) == {second.run_id}


def test_a_matrix_that_names_a_run_twice_runs_it_once(matrix: RunMatrix, tmp_path: Path) -> None:
    again = RunMatrix(["naive", "naive"], matrix.suite, assignments=matrix.assignments, baselines=())
    assert len(plan_runs(again, PlanOptions(tmp_path / "store", tmp_path / "results")).jobs) == 1


def test_every_way_to_run_offers_records_to_the_mirror(
    matrix: RunMatrix, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MTBENCH_MIRROR", f"file://{tmp_path / 'mirror'}")
    [record] = mtbench.run(
        "naive",
        matrix.suite,
        set=list(SETTINGS),
        baselines=(),
        until="prepare",
        store=tmp_path / "store",
        results=tmp_path / "results",
    )
    assert set(records_in(tmp_path / "mirror" / "results")) == {record["run_id"]}


def test_the_executor_is_the_one_that_was_named() -> None:
    from mtbench.execution.ray.executor import RayExecutor

    reporter = Reporter(quiet=True)
    assert type(make_executor(ExecutionOptions(), reporter)) is LocalExecutor
    assert type(make_executor(ExecutionOptions("ray"), reporter)) is RayExecutor
