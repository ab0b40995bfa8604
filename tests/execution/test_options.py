"""The objects in which options travel check themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mtbench.errors import UsageError
from mtbench.execution.options import ExecutionOptions, PlanOptions


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gpus_per_run": -1}, "--gpus-per-run must be a number from 0"),
        ({"gpus_per_run": 1.5}, "--gpus-per-run above 1 must be a whole number"),
        ({"max_concurrent": 0}, "--max-concurrent must be at least 1"),
        ({"scheduler": "median"}, "choose none or asha"),
        ({"executor": "local", "address": "auto"}, "belong to --executor ray"),
    ],
)
def test_options_that_no_executor_can_have(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ExecutionOptions(**{"executor": "ray", **options})


def test_a_plan_needs_a_stage_and_a_choice_that_exist() -> None:
    with pytest.raises(UsageError, match="no such stage"):
        PlanOptions(until="cook")
    with pytest.raises(UsageError, match="choose missing, failed or all"):
        PlanOptions(rerun="some")


def test_places_are_those_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MTBENCH_HOME", str(tmp_path / "home"))
    assert PlanOptions().store_folder == tmp_path / "home"
    chosen = PlanOptions("~/store", "~/results")
    assert (chosen.store_folder, chosen.results_folder) == (tmp_path / "store", tmp_path / "results")
