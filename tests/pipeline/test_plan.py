"""What came later leaves the ids of what was before it: absent from specifications and fingerprints at its default."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field
from tiny_suite import SETTINGS, write_suite

from mtbench.config import Config, TrainConfig, split_assignments
from mtbench.hyperparameters import hyper
from mtbench.pipeline import request
from mtbench.pipeline.plan import make_plan, naive_optimizer
from mtbench.pipeline.request import ResolvedRun, RunRequest
from mtbench.pipeline.resolver import Resolver
from mtbench.pipeline.stages.train import first_acting_episode
from mtbench.records.identity import run_id
from mtbench.registry import add_plugin_files, get_optimizer

PLUGIN = """from mtbench import LossWeighting, hyper


class Grown(LossWeighting):
    '''A method to which a hyperparameter was added.'''

    name = "grown"
    summary = "weights by losses"

    power: float = hyper(1.0, ge=0, le=4)
    floor: float = hyper(0.0, ge=0, le=1, since=2)

    def weights_from_losses(self, losses):
        return losses.pow(self.power).clamp_min(self.floor)
"""


class LaterTrain(TrainConfig):
    """The training loop in some later version."""

    shuffles: int = Field(1, json_schema_extra={"since": 2})
    strength: float | None = Field(None, json_schema_extra={"since": 2, "old": 1.0})


class LaterConfig(Config):
    """All settings in some later version."""

    train: LaterTrain = LaterTrain()
    extra: LaterTrain = Field(LaterTrain(), json_schema_extra={"since": 2})


def resolve(suite: Path, home: Path, optimizer: str = "naive", **params: Any) -> ResolvedRun:
    settings = split_assignments(SETTINGS)[0]
    return Resolver(home).resolve(RunRequest(optimizer, str(suite), settings=settings, params=params))


def keys(run: ResolvedRun) -> list[str]:
    return [stage.key for stage in make_plan(run).stages]


def test_naive_before_the_acting_episode_has_its_defaults() -> None:
    params = {"weights": "uniform", "temperature": 4.0, "compat": "none", "scale": "mean"}
    assert naive_optimizer() == {"name": "naive", "params": params}


def test_a_hyperparameter_that_comes_later_to_every_method_changes_no_fingerprint(
    tiny_suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = resolve(tiny_suite, tmp_path, "tsage")
    before, known = keys(run), naive_optimizer()

    def grown(name: str) -> type:
        later = {"__annotations__": {"momentum": float}, "momentum": hyper(0.5, ge=0, lt=1, since=2)}
        return type(name, (get_optimizer(name),), later)

    monkeypatch.setattr(request, "get_optimizer", grown)
    assert "momentum" in grown("naive")().params and naive_optimizer() == known
    later = dataclasses.replace(run, optimizer={"name": "tsage", "params": grown("tsage")().params})
    assert later.optimizer["params"]["momentum"] == 0.5
    assert run_id(later.specification) == run_id(run.specification) and keys(later) == before
    changed = dataclasses.replace(run, optimizer={"name": "tsage", "params": grown("tsage")(momentum=0.1).params})
    assert run_id(changed.specification) != run_id(run.specification)
    assert keys(changed)[:-4] == before[:-4] and set(keys(changed)[-4:]).isdisjoint(before)


def test_a_late_hyperparameter_of_a_plugin_is_absent_at_its_default_alone(tiny_suite: Path, tmp_path: Path) -> None:
    file = tmp_path / "grown.py"
    file.write_text(PLUGIN, encoding="utf-8")
    add_plugin_files([str(file)])
    for given, specified in (
        ({}, {"power": 1.0, "scale": "mean"}),
        ({"floor": 0.0}, {"power": 1.0, "scale": "mean"}),
        ({"floor": 0.25}, {"power": 1.0, "floor": 0.25, "scale": "mean"}),
    ):
        run = resolve(tiny_suite, tmp_path, "grown", **given)
        assert run.optimizer["params"]["floor"] == given.get("floor", 0.0)
        assert run.specification["optimizer"]["params"] == specified
        (trained,) = (s for s in make_plan(run).stages if s.name == "train" and s.episode == 2)
        assert trained.settings["optimizer"]["params"] == specified


def test_a_late_setting_is_absent_at_its_default_and_where_it_means_the_old_behaviour(
    tiny_suite: Path, tmp_path: Path
) -> None:
    run = resolve(tiny_suite, tmp_path)

    def later(**train: Any) -> ResolvedRun:
        values = run.config.model_dump()
        return dataclasses.replace(run, config=LaterConfig(**{**values, "train": {**values["train"], **train}}))

    for same in (later(), later(shuffles=1), later(strength=1.0), later(strength=None)):
        assert same.specification == run.specification and keys(same) == keys(run)
    for other in (later(shuffles=2), later(strength=0.5)):
        assert run_id(other.specification) != run_id(run.specification) and keys(other)[2] != keys(run)[2]


def test_settings_that_a_suite_carries_are_those_of_a_run_that_names_them(tmp_path: Path) -> None:
    plain, carrying = write_suite(tmp_path / "plain"), write_suite(tmp_path / "carrying")
    with (carrying / "suite.toml").open("a") as file:
        file.write("\n[settings.train]\nsteps = 5\nwarmup_steps = 9\n")
    resolver = Resolver(tmp_path / "home")

    def planned(suite: Path, **train: int) -> ResolvedRun:
        return resolver.resolve(RunRequest("naive", str(suite), settings={"train": train} if train else {}))

    run, named = planned(carrying), planned(plain, steps=5, warmup_steps=9)
    assert (run.config.train.steps, run.config.train.warmup_steps) == (5, 9)
    assert run.specification == named.specification and keys(run) == keys(named)
    assert planned(carrying, steps=6).config.train.steps == 6  # --set has the last word
    assert planned(plain).config.train.steps == 160


def test_a_late_section_is_absent_while_all_of_it_has_its_defaults() -> None:
    assert "extra" not in LaterConfig().content()
    assert LaterConfig(extra=LaterTrain(shuffles=3)).content()["extra"]["shuffles"] == 3


def test_a_methods_version_enters_only_the_stages_in_which_it_acts(
    tiny_suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = resolve(tiny_suite, tmp_path, "pcgrad")
    assert "version" not in before.specification["optimizer"]
    monkeypatch.setattr(get_optimizer("pcgrad"), "version", 3)
    after = resolve(tiny_suite, tmp_path, "pcgrad")
    assert after.specification["optimizer"]["version"] == 3
    assert run_id(after.specification) != run_id(before.specification)
    acting = next(i for i, s in enumerate(make_plan(after).stages) if (s.name, s.episode) == ("train", 2))
    assert keys(after)[:acting] == keys(before)[:acting]
    assert set(keys(after)[acting:]).isdisjoint(keys(before)[acting:])
    naive = resolve(tiny_suite, tmp_path)
    assert keys(naive) == keys(resolve(tiny_suite, tmp_path)) and "version" not in naive.specification["optimizer"]


def test_a_change_that_does_not_concern_a_setting_gives_it_no_version(tiny_suite: Path, tmp_path: Path) -> None:
    assert "version" not in resolve(tiny_suite, tmp_path, "tsage").specification["optimizer"]
    halving = resolve(tiny_suite, tmp_path, "tsage", tau_schedule="halving")
    assert halving.specification["optimizer"]["version"] == 2


@pytest.mark.parametrize(("start", "first"), [("warmup", 0), (1, 1), (2, 2)])
def test_a_stage_knows_in_which_episode_its_method_began_to_act(
    start: str | int, first: int, tiny_suite: Path, tmp_path: Path
) -> None:
    settings = {"train": {**split_assignments(SETTINGS)[0]["train"], "start_episode": start}}
    run = Resolver(tmp_path).resolve(RunRequest("tsage", str(tiny_suite), settings=settings))
    stages = [s for s in make_plan(run).stages if s.name in ("warmup", "train")]
    assert [s.episode for s in stages] == [0, 1, 2]
    assert [first_acting_episode(s) for s in stages[first:]] == [first] * (3 - first)
