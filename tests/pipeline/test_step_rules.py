"""What a method and the settings of a step allow together, from the command line on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mtbench.cli.main import main

PLUGIN = '''
"""A method that reads task 0 alone."""
from mtbench.optim import LossWeighting


class Greedy(LossWeighting):
    """All queries to the first task."""

    name = "greedy_reader"
    summary = "all queries to the first task"

    def shares(self):
        return [1.0] + [0.0] * (self.num_tasks - 1)

    def weights_before(self):
        return [1.0] + [0.0] * (self.num_tasks - 1)
'''


@pytest.fixture
def plugin(tmp_path: Path) -> str:
    file = tmp_path / "greedy_reader.py"
    file.write_text(PLUGIN, encoding="utf-8")
    return str(file)


def planned(capsys: pytest.CaptureFixture[str], tmp_path: Path, *words: str) -> dict[str, Any]:
    where = ["--store", str(tmp_path / "store"), "--results", str(tmp_path / "results")]
    assert main(["run", "--suite", "kilt", "--dry-run", "--json", *where, *words]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def refused(capsys: pytest.CaptureFixture[str], tmp_path: Path, *words: str) -> str:
    where = ["--store", str(tmp_path / "store"), "--results", str(tmp_path / "results")]
    assert main(["run", "--suite", "kilt", "--dry-run", "--json", *where, *words]) == 2
    message: str = json.loads(capsys.readouterr().out)["error"]["message"]
    return message


def keys(found: dict[str, Any], name: str) -> list[str]:
    return [s["fingerprint"] for run in found["runs"] for s in run["stages"] if s["name"] == name]


def test_what_cannot_be_is_refused_before_any_work(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, plugin: str
) -> None:
    wrong = {
        ("--set", "train.tasks_per_step=9"): "train.tasks_per_step=9: the suite has 8 tasks to train",
        ("--set", "train.task_order=shuffled"): "train.task_order: needs train.tasks_per_step",
        ("--set", "train.base_momentum=0.5"): "train.base_momentum: is for train.base=sgd or muon",
    }
    for words, message in wrong.items():
        assert message in refused(capsys, tmp_path, "--optimizer", "naive", *words)
    mine = ("--optimizer", "greedy_reader", "--plugin", plugin)
    both = refused(capsys, tmp_path, *mine, "--set", "train.tasks_per_step=1")
    assert "greedy_reader chooses the tasks of a step itself" in both
    alone = refused(capsys, tmp_path, *mine, "--set", "train.hard_negatives=0")
    assert "greedy_reader may give a task one query a step" in alone


def test_tasks_a_step_enter_the_fingerprints_of_training_and_defaults_do_not(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    plain = planned(capsys, tmp_path, "--optimizer", "naive")
    same = planned(
        capsys,
        tmp_path,
        *("--optimizer", "naive", "--set", "train.tasks_per_step=0", "--set", "train.task_order=round_robin"),
        *("--set", "train.base=adamw", "--set", "train.draws=extra"),
    )
    other = planned(capsys, tmp_path, "--optimizer", "naive", "--set", "train.tasks_per_step=1")
    assert same["runs"][0]["run_id"] == plain["runs"][0]["run_id"] != other["runs"][0]["run_id"]
    assert keys(same, "train") == keys(plain, "train")
    assert not set(keys(other, "train") + keys(other, "warmup")) & set(keys(plain, "train") + keys(plain, "warmup"))
    assert keys(other, "bm25") == keys(plain, "bm25")


def test_how_draws_are_read_matters_only_where_there_are_several(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    plain = planned(capsys, tmp_path, "--optimizer", "sdmgrad")
    split = planned(
        capsys, tmp_path, "--optimizer", "sdmgrad", "--set", "train.draws=split", "--set", "train.batch_size=64"
    )
    assert keys(split, "warmup") == keys(plain, "warmup")  # naive there
    assert (
        keys(split, "train")[:-1] == keys(plain, "train")[:-1] and keys(split, "train")[-1] != keys(plain, "train")[-1]
    )
