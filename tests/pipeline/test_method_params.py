"""Hyperparameters that a profile or a suite sets, on their way into a run's specification."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from pipeline.conftest import Bench
from tiny_suite import SETTINGS

from mtbench.errors import ConfigError
from mtbench.execution.matrix import RunMatrix
from mtbench.execution.options import PlanOptions
from mtbench.execution.planned import Job, plan_runs
from mtbench.report.settings import rerun_command


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text('extends = "mini"\n[optimizer.tsage]\ntau = 4\nbeta = 0.9\n')
    return path


def planned(bench: Bench, *assignments: str, profile: str | Path = "mini", suite: Path | None = None) -> list[Job]:
    names = ["naive", "tsage"]
    matrix = RunMatrix(
        names, str(suite or bench.suite), profile=str(profile), assignments=[*SETTINGS, *assignments], baselines=()
    )
    return plan_runs(matrix, PlanOptions(bench.store, bench.results)).jobs


def tau_and_beta(job: Job) -> tuple[float, float]:
    params = job.plan.run.optimizer["params"]
    return params["tau"], params["beta"]


def stages(job: Job) -> list[str]:
    return [stage.key for stage in job.plan.stages]


def test_class_then_profile_then_set(bench: Bench, profile: Path) -> None:
    naive, tsage = planned(bench, profile=profile)
    assert tau_and_beta(tsage) == (4.0, 0.9)
    assert tsage.label == "tsage (tau=4.0, beta=0.9) seed 0"
    assert tau_and_beta(planned(bench, "beta=0.5", profile=profile)[1]) == (4.0, 0.5)
    assert tau_and_beta(planned(bench, profile="mini")[1]) == (2.0, 0.999)
    plain = planned(bench, "tau=4", "beta=0.9")
    assert [stages(naive), stages(tsage)] == [stages(job) for job in plain]


def test_a_suite_carries_them_for_mini_below_a_profile_that_extends_it(
    bench: Bench, profile: Path, tmp_path: Path
) -> None:
    suite = tmp_path / "named" / "tiny"
    shutil.copytree(bench.suite, suite)
    with (suite / "suite.toml").open("a") as file:
        file.write("\n[settings.optimizer.tsage]\nbeta = 0.95\nburn_in = 0.2\n")
    carrying, plain = planned(bench, suite=suite)[1], planned(bench, "beta=0.95", "burn_in=0.2")[1]
    assert carrying.run_id == plain.run_id and stages(carrying) == stages(plain)
    mine = planned(bench, suite=suite, profile=profile)[1]
    assert tau_and_beta(mine) == (4.0, 0.9) and mine.plan.run.optimizer["params"]["burn_in"] == 0.2


def test_the_command_that_computes_a_run_again_says_what_differs_from_what_its_suite_carries(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, chosen = (planned(bench, *given)[1].plan.run.specification for given in ((), ("beta=0.9",)))
    carried = {"optimizer": {"tsage": {"beta": 0.9}}}
    monkeypatch.setattr("mtbench.report.settings._carried", lambda suite: carried)
    assert "beta=0.999" in rerun_command(usual) and "beta" not in rerun_command(chosen).replace("adam_betas", "")


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("[optimizer.tsaeg]\nbeta = 0.9", "[optimizer.tsaeg]: unknown optimizer 'tsaeg'. Did you mean 'tsage'?"),
        ("[optimizer.cgd]\nbeta = 0.9", "[optimizer.cgd]: cgd has no hyperparameter 'beta'; it has: "),
        ("[optimizer.cgd]\nstep = 'x'", "[optimizer.cgd]: step must be float in"),
        ("[optimizer.tsage]\nbeta = 1.5", "[optimizer.tsage]: beta must be float in [0, 1), got 1.5"),
        ("[optimizer]\ntsage = 3", "optimizer.tsage = 3: expected a table of hyperparameters"),
        ("optimizer = 3", "optimizer = 3: expected tables of methods"),
    ],
)
def test_a_wrong_table_is_named_with_its_profile_whatever_is_run(
    bench: Bench, profile: Path, lines: str, says: str
) -> None:
    profile.write_text(f'extends = "mini"\n{lines}\n')
    with pytest.raises(ConfigError, match=re.escape(f"profile {profile}: {says}")):
        planned(bench, profile=profile)
