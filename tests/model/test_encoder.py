from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_bert import write_bert

from mtbench.config import EncoderConfig
from mtbench.errors import ConfigError, DataError
from mtbench.model.encoder import DualEncoder, build_encoder
from mtbench.model.reparametrise import reparametrise_t5
from mtbench.model.tokenizer import load_tokenizer, train_tokenizer

TEXTS = ["the quick brown fox jumps over the lazy dog", "pack my box with five dozen liquor jugs"] * 4


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return train_tokenizer(TEXTS, 96)


def tiny(**values: Any) -> EncoderConfig:
    return EncoderConfig(hidden=16, heads=2, feed_forward=32, **values)


def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.tensor([[9, 8, 7, 1], [6, 1, 0, 0]])
    return ids, (ids != 0).long()


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Path:
    return write_bert(tmp_path_factory.mktemp("bert"), tokenizer)


def test_the_tokenizer_is_deterministic_and_ends_sequences(tokenizer: Any) -> None:
    again = train_tokenizer(TEXTS, 96)
    assert again.get_vocab() == tokenizer.get_vocab()
    assert tokenizer("The QUICK fox")["input_ids"][-1] == tokenizer.eos_token_id
    assert "[START_ENT]" in tokenizer.get_vocab()
    assert tokenizer("[START_ENT] fox")["input_ids"][0] == tokenizer.convert_tokens_to_ids("[START_ENT]")


@pytest.mark.parametrize("sharing", ["shared", "untied", "per-task-query"])
def test_save_and_load_give_the_same_vectors(sharing: str, tokenizer: Any, tmp_path: Path) -> None:
    model = build_encoder(tiny(sharing=sharing), tokenizer, 2, seed=0)
    model.save(tmp_path / "m", tokenizer, {"a": "A"}, {"a": 10})
    loaded = DualEncoder.load(tmp_path / "m")
    for side, task in (("query", 0), ("query", 1), ("passage", None)):
        expected = model.encode(*inputs(), side, task)  # type: ignore[arg-type]
        assert torch.equal(expected, loaded.encode(*inputs(), side, task))  # type: ignore[arg-type]
    saved = json.loads((tmp_path / "m" / "mtbench.json").read_text(encoding="utf-8"))
    assert saved["pooling"] == "t5" and saved["prompts"] == {"a": "A"} and saved["query_max_lengths"] == {"a": 10}


def test_the_seed_alone_makes_the_initial_weights(tokenizer: Any) -> None:
    first = build_encoder(tiny(), tokenizer, 1, seed=3)
    torch.manual_seed(99)
    state = torch.random.get_rng_state()
    second, other = build_encoder(tiny(), tokenizer, 1, seed=3), build_encoder(tiny(), tokenizer, 1, seed=4)
    assert torch.equal(torch.random.get_rng_state(), state)
    vectors = [m.encode(*inputs(), "query") for m in (first, second, other)]
    assert torch.equal(vectors[0], vectors[1]) and not torch.equal(vectors[0], vectors[2])


def test_padding_does_not_change_a_vector(tokenizer: Any) -> None:
    model = build_encoder(tiny(), tokenizer, 1, seed=0)
    ids, mask = inputs()
    alone = model.encode(ids[1:, :2], mask[1:, :2], "query")
    assert torch.allclose(alone, model.encode(ids, mask, "query")[1:], atol=1e-5)


def test_the_first_decoder_state_is_that_of_the_library(tokenizer: Any) -> None:
    model = build_encoder(tiny(), tokenizer, 1, seed=0)
    ids, mask = inputs()
    start = torch.zeros(2, 1, dtype=torch.long)
    expected = model.any_backbone(input_ids=ids, attention_mask=mask, decoder_input_ids=start).last_hidden_state[:, 0]
    assert torch.equal(model.encode(ids, mask, "query"), expected)


@pytest.mark.parametrize("pooling", ["cls", "mean", "last"])
def test_poolings_of_other_models(pooling: str, bert: Path, tokenizer: Any) -> None:
    model = build_encoder(EncoderConfig(path=str(bert), pooling=pooling), tokenizer, 1, seed=0)
    ids, mask = inputs()
    states = model.any_backbone(input_ids=ids, attention_mask=mask).last_hidden_state
    expected = {
        "cls": states[:, 0],
        "mean": torch.stack([states[0, :4].mean(0), states[1, :2].mean(0)]),
        "last": torch.stack([states[0, 3], states[1, 1]]),
    }[pooling]
    assert torch.allclose(model.encode(ids, mask, "passage"), expected, atol=1e-6)


def test_bf16_is_near_fp32_and_gives_fp32_vectors(bert: Path, tokenizer: Any) -> None:
    fp32 = build_encoder(EncoderConfig(path=str(bert)), tokenizer, 1, seed=0).encode(*inputs(), "query")
    bf16 = build_encoder(EncoderConfig(path=str(bert), precision="bf16"), tokenizer, 1, seed=0).encode(
        *inputs(), "query"
    )
    assert bf16.dtype == torch.float32 and torch.allclose(fp32, bf16, atol=0.1) and not torch.equal(fp32, bf16)


def test_normalised_vectors_have_length_one(tokenizer: Any) -> None:
    vectors = build_encoder(tiny(normalize=True), tokenizer, 1, seed=0).encode(*inputs(), "query")
    assert torch.allclose(vectors.norm(dim=1), torch.ones(2), atol=1e-5)


def test_t5_pooling_of_another_model_is_refused(bert: Path, tokenizer: Any) -> None:
    with pytest.raises(ConfigError, match="needs an encoder-decoder T5"):
        build_encoder(EncoderConfig(path=str(bert), pooling="t5"), tokenizer, 1, seed=0)


def test_an_encoder_that_is_not_there_is_named_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no tokenizer could be loaded"):
        load_tokenizer(str(tmp_path))
    with pytest.raises(DataError, match=r"no mtbench\.json"):
        DualEncoder.load(tmp_path)


def test_reparametrising_t5_keeps_the_function_and_scales_the_embeddings() -> None:
    from transformers import T5Config, T5Model

    torch.manual_seed(0)
    config = T5Config(
        vocab_size=32, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, dropout_rate=0.0, layer_norm_epsilon=0.0
    )
    model = T5Model(config).eval()
    ids, start = torch.tensor([[5, 6, 7, 1]]), torch.zeros(1, 1, dtype=torch.long)
    before = model(input_ids=ids, decoder_input_ids=start).last_hidden_state
    weight = model.shared.weight.detach().clone()
    reparametrise_t5(model)
    after = model(input_ids=ids, decoder_input_ids=start).last_hidden_state
    assert torch.allclose(before, after, atol=1e-4)
    assert torch.allclose(model.shared.weight * 100, weight, rtol=1e-5)


def test_reparametrising_anything_else_is_refused() -> None:
    from transformers import T5Config, T5Model

    gated = T5Config(
        vocab_size=32, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, feed_forward_proj="gated-gelu"
    )
    with pytest.raises(ConfigError, match=r"only right for T5 v1\.0"):
        reparametrise_t5(T5Model(gated))
