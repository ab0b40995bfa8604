"""Tuning with equal budgets: what is tried, what is chosen, what the winners' records say, and their board."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from execution_cases import LIMIT, records_in, tiny_matrix

from mtbench.cli.main import main
from mtbench.errors import ConfigError, UsageError
from mtbench.execution.executors import LocalExecutor
from mtbench.execution.options import PlanOptions
from mtbench.execution.progress import Reporter
from mtbench.execution.sweep_plan import Setting
from mtbench.execution.tune_space import rate_factors, trial_points
from mtbench.execution.tuning import Tuned, Tuner, TuneRequest
from mtbench.hyperparameters import Hyperparameter
from mtbench.train_config import TrainConfig

TASKS = ("a", "b", "c")


class TestSpace:
    def test_rates_are_the_same_for_every_method_and_budget(self) -> None:
        train = TrainConfig(lr=0.01, warmup_lr=0.02)
        factors = rate_factors(20)
        assert factors[0] == 1 and factors[:5] == rate_factors(5)
        assert all(0.25 <= f <= 4 for f in factors) and min(factors) < 0.5 < 2 < max(factors)
        for name in ("naive", "tsage", "static"):
            first, *others = trial_points(name, 20, train, TASKS)
            assert first == {}
            for point, factor in zip(others, factors[1:], strict=True):
                assert math.isclose(float(point["train.lr"]), 0.01 * factor, rel_tol=1e-3)
                assert math.isclose(float(point["train.warmup_lr"]), 0.02 * factor, rel_tol=1e-3)
            assert trial_points(name, 5, train, TASKS) == [first, *others[:4]]

    def test_hyperparameters_are_drawn_within_what_methods_declare(self) -> None:
        train = TrainConfig(lr=0.01, warmup_lr=0.02)
        points = trial_points("tsage", 30, train, TASKS)[1:]
        taus = [float(point["tsage.tau"]) for point in points]
        assert all(0.25 <= tau <= 8 for tau in taus) and min(taus) < 1 < 4 < max(taus)
        assert {float(point["tsage.beta"]) for point in points} == {0.9, 0.95, 0.986, 0.999}
        assert all(
            set(point) == {"train.lr", "train.warmup_lr"} for point in trial_points("naive", 4, train, TASKS)[1:]
        )
        for point in trial_points("static", 30, train, TASKS)[1:]:
            weights = dict(part.split(":") for part in point["static.weights"].split(","))
            assert list(weights) == list(TASKS) and math.isclose(sum(map(float, weights.values())), 3, rel_tol=1e-3)

    @pytest.mark.parametrize(
        "search", [(2, 1, "log"), (0, 1, "log"), (0, 1, "square"), (0, 9, "linear"), [7.5], [], "x"]
    )
    def test_a_range_that_no_value_can_come_from_is_refused(self, search: Any) -> None:
        with pytest.raises(ConfigError, match="hyperparameter c: search="):
            Hyperparameter("c", float, 1.0, ge=0, le=5, search=search)


def scored(*selections: float | None) -> Tuned:
    trials = [Setting("naive", {"n": i}, []) for i in range(len(selections))]
    for trial, score in zip(trials, selections, strict=True):
        trial.records = [{"status": "failed"} if score is None else done(score)]  # type: ignore[typeddict-item,list-item]
    return Tuned("naive", trials)


def done(selection: float) -> dict[str, Any]:
    return {"status": "complete", "selection": {"average": selection}, "average": 1 - selection}


def test_the_slice_of_train_chooses_and_ties_go_to_the_default() -> None:
    cases = [((0.5, 0.7, 0.6), 1), ((0.7, 0.7, 0.6), 0), ((0.1, 0.7, 0.7), 1), ((None, 0.2), 1)]
    for scores, expected in cases:
        tuned = scored(*scores)
        assert tuned.winner is tuned.trials[expected], scores
    assert scored(None, None).winner is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"trials": 0}, "--trials must be at least 1"),
        ({"final_seeds": (1, 0)}, "share 0"),
        ({"final_seeds": ()}, "name at least one seed"),
        ({"matrix": tiny_matrix(("naive", "bm25"))}, "bm25: it is not trained"),
    ],
)
def test_what_cannot_be_tuned_is_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        TuneRequest(**{"matrix": tiny_matrix(("naive",)), "trials": 2, "final_seeds": (1,), **change})


def test_from_trials_to_the_board(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, results = tmp_path / "store", tmp_path / "results"
    names = ("naive", "static")
    request = TuneRequest(tiny_matrix(names, episodes=1), 2, (1, 2))
    expected = Tuner(request, PlanOptions(store, results)).expected()
    assert len(expected.jobs) == 2 * (2 + 2) and not list(results.glob("runs/**/*.json"))

    tuner = Tuner(request, PlanOptions(store, results))
    tuner.run(LocalExecutor(Reporter(quiet=True)))
    records = records_in(results)
    assert len(records) == 8 and all(r["status"] == "complete" for r in records.values())
    assert all(len(tuned.trials) == 2 and tuned.final is not None for tuned in tuner.tuned)
    rates = [[s.jobs[0].plan.run.config.train.lr for s in tuned.trials] for tuned in tuner.tuned]
    assert rates[0] == rates[1]  # equal for all methods
    computed = [s["fingerprint"] for r in records.values() for s in r["stages"] if not s["reused"]]
    assert len(computed) == len(set(computed))  # what several trials need is made once
    for tuned in tuner.tuned:
        assert tuned.final is not None and tuned.winner is not None
        assert [job.plan.run.request.seed for job in tuned.final.jobs] == [1, 2]
        for record in tuned.final.records:
            assert record["spec"]["tuned"] == {"trials": 2, "seeds": [0]} and record["tuning"]["trials"] == 2
            chosen = tuned.winner.jobs[0].plan.run.specification
            assert record["spec"]["config"] == chosen["config"] and record["spec"]["optimizer"] == chosen["optimizer"]
        assert all("tuned" not in r["spec"] for trial in tuned.trials for r in trial.records)

    again = Tuner(request, PlanOptions(store, results))
    assert not again.planned(s for tuned in again.tuned for s in tuned.trials).waiting

    words = ["tune", "-o", "naive,static", "-s", "kilt", "--trials", "2", "--seeds", "0", "--final-seeds", "1,2"]
    words += ["--store", str(store), "--results", str(results), "--limit", str(LIMIT), "--executor", "local"]
    words += [word for item in request.matrix.assignments for word in ("--set", item)]
    capsys.readouterr()
    assert main([*words, "--json"]) == 0  # finished: nothing is computed
    told = json.loads(capsys.readouterr().out)
    assert [(m["optimizer"], len(m["trials"])) for m in told["methods"]] == [("naive", 2), ("static", 2)]
    assert told["methods"][0]["trials"][0]["values"] == {} and told["methods"][0]["average"] is not None
    assert main([*words, "--dry-run"]) == 0 and " distinct, " in capsys.readouterr().out
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "2 settings and 2 runs for each method" in printed and "leaderboard --tuned --suite kilt" in printed

    for path in results.glob("runs/*/*/*/*.json"):  # --limit keeps runs off every board
        record = json.loads(path.read_text())
        record["spec"]["limit"] = None
        path.write_text(json.dumps(record))
    words = ["leaderboard", "--suite", "kilt", "--results", str(results), "--format", "md"]
    capsys.readouterr()
    assert main([*words, "--tuned"]) == 0
    board = capsys.readouterr().out
    assert "Budget of each method: 2 settings" in board and "Against static tuned: naive " in board
    assert main(words) == 0
    assert "4 runs of tuned methods: leaderboard --tuned" in capsys.readouterr().out
    assert main([*words, "--tuned", "--published"]) == 2
    broken = next(results.glob("runs/*/*/naive/naive-s1-*.json"))
    record = json.loads(broken.read_text())
    broken.write_text(json.dumps({**record, "spec": {**record["spec"], "tuned": "yes"}}))
    assert main([*words, "--tuned"]) == 0  # a record that does not say how it was tuned is of no budget
