"""Encoders from the field (tests/data/README.md): each gives its right answer, or one message before any work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mtbench
from mtbench.errors import ConfigError

Field = Callable[[str], Path]
TINY = (
    *("train.steps=3", "train.warmup_steps=3", "train.episodes=1", "train.batch_size=8", "analyze.batches=2"),
    *("encoder.vocabulary=512", "encoder.hidden=16"),
)


@pytest.fixture
def run(field: Field, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """``run(case, encoder, *settings, rows=...)``: the records by optimizer."""

    def carry_out(case: str, encoder: str, *settings: str, rows: str = "naive") -> dict[str, Any]:
        folder = tmp_path / case
        if not folder.is_dir():
            field(case)
        records = mtbench.run(
            rows,
            folder / "suite",
            encoder=folder / encoder,
            set=[*TINY, *settings],
            store=tmp_path / "store",
            results=tmp_path / "results",
            baselines=("untrained",),
        )
        return {r["spec"]["optimizer"]["name"]: r for r in records}

    return carry_out


def score(record: dict[str, Any]) -> float:
    return round(100 * float(record["average"]), 2)


def test_a_folder_of_weights_and_tokenizer_works(run: Callable[..., dict[str, Any]]) -> None:
    records = run("encoders", "bert")
    assert records["naive"]["status"] == "complete" and score(records["untrained"]) == 2.63
    assert records["naive"]["spec"]["config"]["encoder"]["pooling"] == "auto"  # as before folders were read: cls


@pytest.mark.parametrize("encoder, expected", [("qwen", 11.30), ("gpt2", 17.92)])
def test_a_decoder_is_pooled_at_its_last_token(
    encoder: str, expected: float, run: Callable[..., dict[str, Any]]
) -> None:
    records = run("encoders", encoder)
    assert score(records["untrained"]) == expected and records["naive"]["status"] == "complete"
    assert records["naive"]["spec"]["config"]["encoder"]["pooling"] == "last"
    with pytest.raises(ConfigError, match="has seen no other: all vectors would be equal"):
        run("encoders", encoder, "encoder.pooling=cls")


def test_a_sentence_transformers_folder_is_used_as_its_modules_say(run: Callable[..., dict[str, Any]]) -> None:
    records = run("encoders", "st_mean")
    by_hand = run("encoders", "st_mean", "encoder.pooling=mean", "encoder.normalize=true")
    assert score(records["untrained"]) == score(by_hand["untrained"]) == 27.92
    assert {name: r["run_id"] for name, r in records.items()} == {name: r["run_id"] for name, r in by_hand.items()}
    spec = records["naive"]["spec"]["config"]
    assert (spec["encoder"]["pooling"], spec["encoder"]["normalize"]) == ("mean", True)
    assert (spec["train"]["lr"], spec["train"]["warmup_lr"], spec["train"]["logit_scale"]) == (2e-5, 2e-5, 20.0)


def test_the_encoder_of_dpr_gives_its_first_state(run: Callable[..., dict[str, Any]]) -> None:
    records = run("encoders", "dpr")
    assert records["naive"]["status"] == "complete" and score(records["untrained"]) == 2.78


@pytest.mark.parametrize(
    "case, encoder, parts",
    [
        ("encoders", "ddp", ("lacks 37 weights", "begin with 'module.lm_q.'")),
        ("encoders", "bigtok", ("tokenizer has 234 tokens", "embeddings for 233")),
        ("long-passages", "bert", ("positions for 64 tokens", "passage_max_length 160", "data.passage_max_length=64")),
        ("long-passages", "roberta", ("positions for 64 tokens", "passage_max_length 160", "encoder.max_length=64")),
    ],
)
def test_an_encoder_that_cannot_do_it_is_told_before_any_work(
    case: str, encoder: str, parts: tuple[str, ...], run: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        run(case, encoder)
    assert all(part in str(caught.value) for part in parts), str(caught.value)
    assert not (tmp_path / "results").exists() and not (tmp_path / "store" / "stages").exists()


@pytest.mark.parametrize("setting", ["data.passage_max_length=64", "encoder.max_length=64"])
def test_the_remedy_of_too_long_passages_helps(setting: str, run: Callable[..., dict[str, Any]]) -> None:
    records = run("long-passages", "roberta", setting)
    assert records["naive"]["status"] == "complete"
    section, key = setting.partition("=")[0].split(".")
    assert records["naive"]["spec"]["config"][section][key] == 64
