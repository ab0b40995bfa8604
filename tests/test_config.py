"""Settings and profiles: what is wrong is named with its key, and a profile's own mistake with the profile."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from mtbench.config import build_config, load_profile, parse_value, profile_lineage, split_assignments
from mtbench.errors import ConfigError
from mtbench.records.values import Settings


def build(*assignments: str) -> None:
    build_config(split_assignments(assignments)[0], "--set")


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("train.lr=inf", r"train\.lr: .*finite number, got inf"),
        ("train.lr=nan", r"train\.lr: .*finite number"),
        ("train.clip_norm=inf", r"train\.clip_norm: .*\(0 switches it off\)"),
        ("train.adam_betas=[0.9, inf]", r"adam_betas.*finite number"),
        ("train.adam_betas=[0.9, 1.0]", r"adam_betas: needs two numbers in \[0, 1\)"),
        ("train.lr=true", r"train\.lr: true and false are not allowed"),
        ("train.steps=true", r"train\.steps: true and false are not allowed"),
        ("train.start_episode=true", r"true and false are not allowed"),
        ("negatives.depth=[0, true]", r"negatives\.depth: true and false are not allowed"),
        ("train.steps=9223372036854775808", r"within 64 bits"),
        pytest.param("train.steps=0x" + "f" * 9000, "within 64 bits, got a number with thousands of digits", id="hex"),
        pytest.param("train.steps=" + "9" * 9000, r"train\.steps: .*9,002 characters", id="digits"),
        ("encoder.hidden=62", r"hidden=62 is not a multiple of heads=4"),
        ("bm25.stemmer=klingon", r"bm25\.stemmer: choose none, arabic"),
    ],
)
def test_a_value_that_cannot_be_meant(assignment: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(assignment)


def test_values_that_are_meant() -> None:
    build("encoder.normalize=1", "train.warmup_steps=none", "bm25.stemmer=none", "train.start_episode=warmup")
    assert build_config({"bm25": {"stemmer": "none"}}, "x").bm25.stemmer == "none"
    build("encoder.path=some/model", "encoder.hidden=62")  # sizes are those of the tiny encoder
    assert parse_value("[" * 5000) == "[" * 5000


class TestExtends:
    def test_a_file_is_looked_for_beside_the_one_that_names_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "base.toml").write_text('\ufeffextends = "mini"\n[train]\nlr = 0.25\n', "utf-8")
        (tmp_path / "mine.toml").write_text('extends = "base.toml"\n[train]\nbatch_size = 3\n')
        monkeypatch.chdir("/")
        (tmp_path / "sub").mkdir()
        (tmp_path / "sub" / "other.toml").write_text('extends = "mine.toml"\n')
        for folder in ("/", tmp_path):  # wherever a run is started
            monkeypatch.chdir(folder)
            with pytest.raises(ConfigError, match=r"no profile 'mine\.toml'.*as seen from its own folder"):
                load_profile(str(tmp_path / "sub" / "other.toml"))
        (tmp_path / "sub" / "other.toml").write_text('extends = "../mine.toml"\n')
        monkeypatch.chdir("/")
        profile = load_profile(str(tmp_path / "mine.toml"))
        assert (profile["train"]["lr"], profile["train"]["batch_size"], profile["train"]["episodes"]) == (0.25, 3, 3)
        monkeypatch.chdir(tmp_path)
        assert load_profile("sub/other.toml") == profile
        assert [Path(name).name for name, _ in profile_lineage(str(tmp_path / "mine.toml"))] == [
            "mine.toml",
            "base.toml",
            "mini",
        ]

    @pytest.mark.parametrize("other", ["a.toml", "b.toml"])
    def test_no_profile_extends_itself(self, tmp_path: Path, other: str) -> None:
        (tmp_path / "a.toml").write_text(f'extends = "{other}"\n')
        (tmp_path / "b.toml").write_text('extends = "a.toml"\n')
        with pytest.raises(ConfigError, match=r"extends: '[ab]\.toml' extends this profile in turn"):
            load_profile(str(tmp_path / "a.toml"))

    @pytest.mark.parametrize("value", ["3", '""', '["mini"]', "2020-01-01"])
    def test_what_it_extends_is_a_name(self, tmp_path: Path, value: str) -> None:
        (tmp_path / "a.toml").write_text(f"extends = {value}\n")
        with pytest.raises(ConfigError, match=r"a\.toml: extends = .*expected a profile"):
            load_profile(str(tmp_path / "a.toml"))

    def test_an_unknown_one_is_named_with_the_file(self, tmp_path: Path) -> None:
        (tmp_path / "a.toml").write_text('extends = "pape"\n')
        with pytest.raises(ConfigError, match=r"a\.toml: extends: no profile 'pape'. Did you mean 'paper'"):
            load_profile(str(tmp_path / "a.toml"))


class TestCarried:
    """What a suite carries for the profile mini."""

    SETTINGS: ClassVar[Settings] = {"train": {"steps": 7, "lr": 1e-3}, "search": {"depth": 50}}

    def test_it_lies_over_the_profile_and_below_those_that_extend_it(self, tmp_path: Path) -> None:
        found, plain = load_profile("mini", carried=self.SETTINGS), load_profile("mini")
        assert (found["train"]["steps"], found["train"]["lr"], found["search"]["depth"]) == (7, 1e-3, 50)
        assert found["train"]["batch_size"] == plain["train"]["batch_size"]
        (tmp_path / "a.toml").write_text('extends = "mini"\n[train]\nsteps = 9\n')
        mine = load_profile(str(tmp_path / "a.toml"), carried=self.SETTINGS)["train"]
        assert (mine["steps"], mine["lr"]) == (9, 1e-3)
        assert self.SETTINGS == {"train": {"steps": 7, "lr": 1e-3}, "search": {"depth": 50}}

    def test_it_is_for_no_other_profile_or_encoder(self) -> None:
        assert load_profile("mini", "some/model", self.SETTINGS) == load_profile("mini", "some/model")
        assert load_profile("finetune", None, self.SETTINGS) == load_profile("finetune")
        assert load_profile("paper", None, self.SETTINGS) == load_profile("paper")


class TestPreTrained:
    """What a profile says of pre-trained encoders alone."""

    def test_it_holds_for_every_encoder_but_the_tiny_one(self) -> None:
        random, given = load_profile("mini")["train"], load_profile("mini", "some/model")["train"]
        assert (random["batch_size"], random["warmup_steps"], random["episodes"]) == (64, 200, 3)
        assert (given["batch_size"], given["warmup_steps"], given["episodes"]) == (32, 20, 1)
        assert load_profile("mini", "tiny")["train"] == random
        assert load_profile("finetune")["train"]["warmup_steps"] == 100  # whoever extends it says more

    def test_finetune_cuts_its_own_encoder_and_takes_another_whole(self) -> None:
        own = build_config(load_profile("finetune"), "x")
        assert (own.encoder.keep_layers, own.train.warmup_lr, own.train.lr) == (2, 2e-4, 2e-4)
        other = build_config({**load_profile("finetune", "some/model"), "encoder": {"path": "some/model"}}, "x")
        assert (other.encoder.keep_layers, other.train.warmup_lr, other.train.lr) == (None, 2e-5, 2e-5)

    def test_a_profile_of_ones_own_may_have_it(self, tmp_path: Path) -> None:
        (tmp_path / "a.toml").write_text('extends = "mini"\n[train]\nsteps = 7\n[pre_trained.train]\nepisodes = 2\n')
        found = load_profile(str(tmp_path / "a.toml"), "some/model")["train"]
        assert (found["steps"], found["episodes"], found["batch_size"]) == (7, 2, 32)
        assert load_profile(str(tmp_path / "a.toml"))["train"]["episodes"] == 3
        (tmp_path / "b.toml").write_text("pre_trained = 3\n")
        with pytest.raises(ConfigError, match=r"pre_trained = 3: expected sections"):
            load_profile(str(tmp_path / "b.toml"))

    @pytest.mark.parametrize(
        ("encoder", "rate"),
        [({}, 5e-3), ({"path": "some/model"}, 2e-5), ({"path": "some/model", "keep_layers": 2}, 2e-4)],
    )
    def test_rates_follow_from_the_start(self, encoder: dict[str, object], rate: float) -> None:
        train = build_config({"encoder": encoder}, "x").train
        assert (train.warmup_lr, train.lr) == (rate, rate)
