"""What readers cost, by hand and in plans."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_kilt
import tiny_suite

from mtbench.config import ReaderConfig
from mtbench.execution.estimate import estimate, paper_projection
from mtbench.execution.matrix import RunMatrix
from mtbench.execution.options import PlanOptions
from mtbench.execution.planned import plan_runs
from mtbench.execution.prepare import PrepareRequest, plan_prepare
from mtbench.execution.reader_estimate import (
    ANSWER_TOKENS,
    BART_LARGE,
    PASSAGE_TOKENS,
    reading_operations,
    studying_operations,
)
from mtbench.pipeline.plan import Stage


def test_operations_worked_by_hand() -> None:
    reader = ReaderConfig(path="bart", passages=3, query_length=32, epochs=2, beams=4, sharing="per-task")
    stage = Stage("read", None, {})
    read = (3 * PASSAGE_TOKENS + 20) * (BART_LARGE["encoder"] + BART_LARGE["handed"])
    written = ANSWER_TOKENS * BART_LARGE["decoder"]
    expected = 2 * 100 * 3 * (read + written) + 10 * (read + 4 * written)
    assert reading_operations(stage, reader, [100], [10], [20]) == pytest.approx(expected)
    closed = Stage("read", None, {"passages_of": "closed-book"})
    less = 2 * 100 * 3 * (20 * 352e6 + written) + 10 * (20 * 352e6 + 4 * written)
    assert reading_operations(closed, reader, [100], [10], [20]) == pytest.approx(less)


def test_the_first_lessons_worked_by_hand() -> None:
    reader = ReaderConfig(path="bart", start_steps=8, batch_size=4, query_length=30)
    query = (30 * 30 + 10 * 20) / 40
    read = (query + 0.75 * PASSAGE_TOKENS) * (BART_LARGE["encoder"] + BART_LARGE["handed"])
    expected = 3 * 8 * 4 * (read + ANSWER_TOKENS * BART_LARGE["decoder"])
    assert studying_operations(reader, [30, 10], [99, 20]) == pytest.approx(expected)


def test_steps_are_shared_by_tasks_or_taken_by_each() -> None:
    def operations(sharing: str) -> float:
        reader = ReaderConfig(path="bart", steps=10, batch_size=4, sharing=sharing)  # type: ignore[arg-type]
        return reading_operations(Stage("read", None, {}), reader, [30, 10], [0, 0], [20, 20])

    assert operations("per-task") == pytest.approx(2 * operations("shared"))


def test_a_plan_with_a_reader_costs_more(tmp_path: Path) -> None:
    suite = str(tiny_kilt.write_kilt_suite(tmp_path / "tiny"))
    settings = (*tiny_suite.SETTINGS, *tiny_kilt.SETTINGS)
    options = PlanOptions(tmp_path / "store", tmp_path / "results")
    without = [s for s in settings if not s.startswith("reader.")]
    plain = estimate(plan_runs(RunMatrix(["naive"], suite, assignments=without), options))
    answering = estimate(plan_runs(RunMatrix(["naive"], suite, assignments=settings, reader=True), options))
    assert answering.to_compute > plain.to_compute and answering.distinct > plain.distinct
    assert paper_projection(plan_runs(RunMatrix(["naive"], suite, assignments=without), options)) is None


def test_a_reader_of_the_hub_is_planned_to_be_fetched(tmp_path: Path) -> None:
    plan = plan_prepare(PrepareRequest("kilt", store=tmp_path, reader="nobody/has-such-a-reader"))
    assert plan["reader"] == {"name": "nobody/has-such-a-reader", "state": "fetch"}
    assert "reader" not in plan_prepare(PrepareRequest("kilt", store=tmp_path))
