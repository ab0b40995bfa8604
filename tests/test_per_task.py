"""Numbers per task: every form is read, one is written, and what is wrong is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtbench.errors import ConfigError
from mtbench.hyperparameters import Hyperparameter, hyperparameters
from mtbench.optim import LossWeighting, PerTask, hyper
from mtbench.per_task import by_name, read_per_task

TASKS = ["nq", "fever", "hotpot"]
FIELD = Hyperparameter("weights", float, "", ge=0, le=10, per_task=True)


def numbers(value: Any, names: list[str] | None = TASKS) -> list[float]:
    return read_per_task(FIELD.check(value, "static"), "static: weights:").numbers(3, names, "static: weights:")


@pytest.mark.parametrize(
    ("value", "text", "expected"),
    [
        ("", "", [1, 1, 1]),
        ("nq:2,fever:0.5", "fever:0.5,nq:2", [2, 0.5, 1]),
        (" nq : 2.0 , fever:5e-1 ", "fever:0.5,nq:2", [2, 0.5, 1]),
        ("hotpot:3,*:0", "*:0,hotpot:3", [0, 0, 3]),
        ("2,0.5,1", "2,0.5,1", [2, 0.5, 1]),
        ("0,0,1e-5", "0,0,1e-05", [0, 0, 1e-5]),
        ({"nq": 2, "fever": 0.5}, "fever:0.5,nq:2", [2, 0.5, 1]),
        ([2, 0.5, 1], "2,0.5,1", [2, 0.5, 1]),
        ((2, 0.5, 1), "2,0.5,1", [2, 0.5, 1]),
        ('{"nq": 2, "fever": 0.5}', "fever:0.5,nq:2", [2, 0.5, 1]),
        ("[2, 0.5, 1]", "2,0.5,1", [2, 0.5, 1]),
    ],
)
def test_forms(value: Any, text: str, expected: list[float]) -> None:
    assert FIELD.check(value, "static") == text == FIELD.check(text, "static")
    assert numbers(value) == expected


def test_a_file_holds_names_or_a_list(tmp_path: Path) -> None:
    file = tmp_path / "tuned.json"
    for content in ({"nq": 2, "fever": 0.5}, [2, 0.5, 1]):
        file.write_text(json.dumps(content), encoding="utf-8")
        assert numbers(f"@{file}") == [2, 0.5, 1]
        assert "@" not in FIELD.check(f"@{file}", "static")
    for broken, says in [
        ('{"nq": 2, "nq": 3}', "names the task 'nq' twice"), ("{", "no JSON"), ('"nq:2"', "must be an object"),
        ("3", "must be"), ('{"nq": true}', "True is no number"),
    ]:  # fmt: skip
        file.write_text(broken, encoding="utf-8")
        with pytest.raises(ConfigError, match=rf"static: weights: {file}: .*{says}"):
            FIELD.check(f"@{file}", "static")
    with pytest.raises(ConfigError, match=r"@nowhere\.json cannot be read: No such file"):
        FIELD.check("@nowhere.json", "static")
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8"):
        FIELD.check(f"@{file}", "static")


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("nq:2,nq:3", "names the task 'nq' twice"),
        ("nqq:2", r"no task 'nqq'\. Did you mean 'nq'\? Tasks: nq, fever, hotpot"),
        ("1,2", r"2 numbers for 3 tasks \(nq, fever, hotpot\)"),
        ("1,2,3,4", "4 numbers for 3 tasks"),
        ("nq:-1", r"each must be float per task in \[0, 10\].*got -1 in 'nq:-1'"),
        ("1,2,11", r"got 11 in '1,2,11'"),
        ("nq:inf", "got inf"),
        ("nq:nan", "got nan"),
        ("*:0", "every task has 0"),
        ("0,0,0", "every task has 0"),
        ("nq:0,fever:0,hotpot:0", "every task has 0"),
        ("nq", "'nq' is no number"),
        ("nq:2,fever", "'fever' belongs to no task"),
        ("nq:two", "'two' is no number"),
        ("1,,2", "'' is no number"),
        (":2", "'2' belongs to no task"),
        ("@", "needs the name of a set"),
        ({"a,b": 1}, "cannot be the name of a task"),
        ({1: 1}, "cannot be the name of a task"),
        ({"nq": "2"}, "'2' is no number"),
        ([True, 1, 1], "True is no number"),
        ([10**400, 1, 1], "larger than any float"),
        (3, "must be nq:2,fever:0.5"),
        (None, "must be nq:2,fever:0.5"),
        (b"abc", "must be nq:2,fever:0.5"),
        ('{"nq": 2', "no JSON"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(value: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=f"static: weights: .*{says}"):
        numbers(value)


def test_names_need_the_tasks_names_and_numbers_do_not() -> None:
    assert numbers("1,2,3", None) == [1, 2, 3] and numbers("", None) == [1, 1, 1] and numbers("*:2", None) == [2] * 3
    with pytest.raises(ConfigError, match=r"names tasks, and start\(\) was given no task_names"):
        numbers("nq:2", None)
    with pytest.raises(ConfigError, match=r"@rare: sets have names in a suite's suite\.toml"):
        numbers("@rare")


@settings(derandomize=True, deadline=None)
@given(st.lists(st.floats(0, 10), min_size=3, max_size=3).filter(any))
def test_every_form_of_the_same_numbers_is_written_alike_once_the_tasks_are_known(values: list[float]) -> None:
    forms: list[Any] = [values, dict(zip(TASKS, values, strict=True)), json.dumps(values)]
    forms += [",".join(f"{t}:{v!r}" for t, v in zip(reversed(TASKS), reversed(values), strict=True))]
    texts = {by_name(TASKS, numbers(form)).text for form in forms}
    assert len(texts) == 1
    assert numbers(texts.pop()) == values


def test_by_task_takes_the_suite_s_sets() -> None:
    sets = {"rare": {"nq": 2.0, "fever": 1.0}, "wrong": {"nq": 20.0}}
    assert FIELD.by_task("@rare", TASKS, "static", sets) == "nq:2"
    assert FIELD.by_task("1,1,1", TASKS, "static", sets) == ""
    assert FIELD.by_task("*:0,fever:1", TASKS, "static", sets) == "hotpot:0,nq:0"
    with pytest.raises(ConfigError, match=r"static: weights: the suite has no set @other\. Sets: rare, wrong"):
        FIELD.by_task("@other", TASKS, "static", sets)
    with pytest.raises(ConfigError, match=r"declare \[weights.NAME\] in suite.toml"):
        FIELD.by_task("@other", TASKS, "static", {})
    with pytest.raises(ConfigError, match="static: weights: @wrong: each must be"):
        FIELD.by_task("@wrong", TASKS, "static", sets)


def test_a_declaration_says_both_type_and_per_task() -> None:
    class Both(LossWeighting):
        name = "both"
        summary = "x"
        weights: PerTask = hyper("", per_task=True, ge=0)
        alpha: float = hyper(1.0, ge=0)

    declared = hyperparameters(Both)
    assert list(declared) == ["weights", "alpha", "scale"]
    assert declared["weights"].type_name == "float per task" and declared["alpha"].type_name == "float"
    assert declared["weights"].allowed.startswith("float per task in [0, inf): nq:2,fever:0.5")

    class Half(LossWeighting):
        name = "half"
        summary = "x"
        weights: PerTask = hyper("", ge=0)

    class OtherHalf(LossWeighting):
        name = "other_half"
        summary = "x"
        weights: float = hyper(1.0, ge=0, per_task=True)

    for cls in (Half, OtherHalf):
        with pytest.raises(ConfigError, match=r"weights: PerTask = hyper\(\"\", per_task=True"):
            hyperparameters(cls)
