"""Numbers per task on their way from the command line to the weights of a run, and into its record and id."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from pipeline.conftest import Bench
from tiny_suite import SETTINGS

import mtbench
from mtbench.cli.main import main
from mtbench.errors import ConfigError
from mtbench.execution.matrix import RunMatrix
from mtbench.execution.options import PlanOptions
from mtbench.execution.planned import Job, plan_runs

FORMS = ["static.weights=ask:2,claim:0.5", "weights=claim:0.5,ask:2.0,slot:1", "static.weights=@tuned"]


@pytest.fixture
def suite(tiny_suite: Path, tmp_path: Path) -> Path:
    """The tiny suite with named sets."""
    folder = tmp_path / "named" / "tiny"
    shutil.copytree(tiny_suite, folder)
    text = (folder / "suite.toml").read_text(encoding="utf-8")
    sets = "\n[weights.tuned]\nask = 2\nclaim = 0.5\n[weights.third]\nslot = 3\n"
    (folder / "suite.toml").write_text(text + sets, encoding="utf-8")
    return folder


def planned(bench: Bench, suite: Path, *assignments: str, optimizers: tuple[str, ...] = ("static",)) -> list[Job]:
    matrix = RunMatrix(list(optimizers), str(suite), assignments=[*SETTINGS, *assignments], baselines=())
    return plan_runs(matrix, PlanOptions(bench.store, bench.results)).jobs


def test_every_form_is_one_run_whose_specification_has_the_numbers(bench: Bench, suite: Path, tmp_path: Path) -> None:
    names = [task.name for task in planned(bench, suite)[0].plan.run.suite.tasks]
    in_order = ",".join({"ask": "2", "claim": "0.5"}.get(name, "1") for name in names)
    (tmp_path / "w.json").write_text(json.dumps({"ask": 2, "claim": 0.5}), encoding="utf-8")
    forms = [
        *FORMS,
        f"static.weights={in_order}",
        f"static.weights=@{tmp_path}/w.json",
        'weights={"claim":0.5,"ask":2}',
    ]
    jobs = [planned(bench, suite, form)[0] for form in forms]
    assert {job.plan.run.optimizer["params"]["weights"] for job in jobs} == {"ask:2,claim:0.5"}
    assert len({job.run_id for job in jobs}) == 1
    assert jobs[0].label == "static (weights=ask:2,claim:0.5) seed 0"
    default, ones = planned(bench, suite)[0], planned(bench, suite, "weights=1,1,1")[0]
    assert default.run_id == ones.run_id != jobs[0].run_id
    assert default.plan.run.optimizer["params"]["weights"] == ""


def test_sets_of_weights_are_no_part_of_the_data(bench: Bench, suite: Path, tiny_suite: Path) -> None:
    with_sets, without = (planned(bench, folder, "weights=ask:2")[0] for folder in (suite, tiny_suite))
    assert with_sets.run_id == without.run_id


@pytest.mark.parametrize(
    ("assignment", "says"),
    [
        ("static.weights=@nothing", "static: weights: the suite has no set @nothing. Sets: third, tuned"),
        ("static.weights=assk:2", "static: weights: there is no task 'assk'. Did you mean 'ask'?"),
        ("static.weights=1,2", "static: weights: 2 numbers for 3 tasks"),
        ("static.weights=*:0", "static: weights: every task has 0"),
        ("static.weights=ask:-1", "static: weights: each must be float per task in [0, inf)"),
    ],
)
def test_mistakes_are_told_before_any_work(
    bench: Bench, suite: Path, assignment: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "-o", "static", "-s", str(suite), "--set", assignment, "--store", str(bench.store)]
    assert main([*words, "--results", str(bench.results)]) == 2
    assert says in capsys.readouterr().err.replace("\n", " ")
    assert not bench.results.exists() and not (bench.store / "prepare").exists()


def test_a_run_trains_with_its_weights_and_keeps_them(bench: Bench, suite: Path) -> None:
    record: dict[str, Any] = mtbench.run(  # type: ignore[assignment]
        "static", suite, set={**dict(s.split("=", 1) for s in SETTINGS), "static.weights": {"ask": 2, "claim": 0}},
        store=bench.store, results=bench.results, baselines=(),
    )[0]  # fmt: skip
    assert record["status"] == "complete"
    assert record["spec"]["optimizer"]["params"]["weights"] == "ask:2,claim:0"
    weights = record["training"]["episodes"][-1]["weights"]
    assert {task: series[-1] for task, series in weights.items()} == pytest.approx(
        {"ask": 2 / 3, "claim": 0, "slot": 1 / 3}, abs=1e-4
    )


def test_info_shows_the_type_and_a_suite_s_sets(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "static", "--json"]) == 0
    weights = next(h for h in json.loads(capsys.readouterr().out)["hyperparameters"] if h["name"] == "weights")
    assert weights["type"] == "float per task" and "nq:2,fever:0.5" in weights["allowed"]
    assert main(["info", str(suite), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["weights"] == ["@tuned = ask:2,claim:0.5", "@third = slot:3"]


def test_a_sweep_over_weights_names_each_setting(bench: Bench, suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["sweep", "-o", "static", "-s", str(suite), "--executor", "local", "--dry-run", "--json"]
    words += [word for setting in SETTINGS for word in ("--set", setting)]
    grid = ["--grid", "static.weights=ask:2,claim:0.5;@third;1,1,1", "--store", str(bench.store)]
    assert main([*words, *grid, "--results", str(bench.results)]) == 0
    runs = json.loads(capsys.readouterr().out)["runs"]
    assert len({run["run_id"] for run in runs}) == 3
    assert ConfigError.exit_code == main([*words, "--grid", "static.weights=ask:2;nope:1", "--store", str(bench.store)])


def test_groups_of_parameters_and_preferences_in_a_run(bench: Bench, tiny_suite: Path) -> None:
    chosen = ("groups=module", "preference=ask:2", "scale=unit")
    record = bench.run("upgrad", *chosen)[0]
    assert record["status"] == "complete"
    params = record["spec"]["optimizer"]["params"]
    assert (params["groups"], params["preference"], params["scale"]) == ("module", "ask:2", "unit")
    weights = [series[-1] for series in record["training"]["episodes"][-1]["weights"].values()]
    assert sum(weights) == pytest.approx(1, abs=1e-3)
    assert planned(bench, tiny_suite, optimizers=("upgrad",))[0].run_id != record["run_id"]


def test_states_of_groups_go_from_episode_to_episode(bench: Bench) -> None:
    chosen = ("train.start_episode=1", "step=2.0", "groups=module")
    kept, reset = (bench.run("cgd", *chosen, f"reset_on_episode={reset}")[0] for reset in ("false", "true"))
    assert kept["status"] == reset["status"] == "complete"
    first, second = ([e["weights"] for e in r["training"]["episodes"][1:]] for r in (kept, reset))
    assert first[0] == second[0] and first[1] != second[1]
    ends = [series[-1] for series in first[0].values()]
    begins = [series[0] for series in first[1].values()]
    assert ends == pytest.approx(begins, abs=0.15)
    assert begins != [series[0] for series in second[1].values()]
