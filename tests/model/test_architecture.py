"""Kinds of model: each T5 gives vectors, comes back from its folder, and goes out to sentence-transformers as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from data.small_suites import tiny_tokenizer

from mtbench.config import EncoderConfig
from mtbench.errors import ConfigError
from mtbench.model.encoder import DualEncoder, build_encoder
from mtbench.report.encoder_export import export_encoder
from mtbench.report.first_decoder_state import FirstDecoderState

WORDS = ["amber birch cedar larch maple"] * 4
IDS = torch.tensor([[5, 6, 7, 8, 1], [9, 6, 1, 0, 0]])
MASK = (IDS != 0).long()
GLOBAL = {"local_radius": 4, "encoder_attention_type": "transient-global", "global_block_size": 4}
SPARSE = {"num_experts": 2, "num_sparse_encoder_layers": 1, "num_sparse_decoder_layers": 1}
KINDS = [
    ("T5", {}),
    ("MT5", {}),
    ("UMT5", {}),
    ("LongT5", {"local_radius": 4}),
    ("LongT5", GLOBAL),
    ("SwitchTransformers", SPARSE),
]


def write_t5(folder: Path, kind: str, form: str, **options: Any) -> Any:
    """A random model of a kind and its tokenizer's folder; the tokenizer."""
    import transformers

    tokenizer = tiny_tokenizer(WORDS)
    sizes = {"vocab_size": len(tokenizer), "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
    ends = {"decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 1}
    torch.manual_seed(0)
    made = getattr(transformers, f"{kind}{form}")(getattr(transformers, f"{kind}Config")(**sizes, **ends, **options))
    made.save_pretrained(folder)
    tokenizer.save_pretrained(str(folder))
    return tokenizer


@pytest.mark.parametrize(
    ("form", "pooling"),
    [("Model", "t5"), ("ForConditionalGeneration", "t5"), ("EncoderModel", "mean"), ("Model", "mean")],
)
@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_every_kind_of_t5_works(kind: str, options: dict[str, Any], form: str, pooling: str, tmp_path: Path) -> None:
    tokenizer = write_t5(tmp_path / "made", kind, form, **options)
    chosen = "auto" if (form == "EncoderModel") is (pooling == "mean") else pooling
    settings = EncoderConfig(path=str(tmp_path / "made"), pooling=chosen)  # type: ignore[arg-type]
    encoder = build_encoder(settings, tokenizer, 1, 0)
    assert encoder.pooling == pooling
    vectors = encoder.encode(IDS, MASK, "query")
    assert vectors.shape == (2, encoder.dimension)
    alone = encoder.encode(IDS[1:, :3], MASK[1:, :3], "query")
    torch.testing.assert_close(vectors[1], alone[0], atol=1e-5, rtol=1e-4)  # padding is not seen
    encoder.save(tmp_path / "saved", tokenizer, {}, {})
    assert torch.equal(DualEncoder.load(tmp_path / "saved").encode(IDS, MASK, "query"), vectors)
    (folder,) = export_encoder(tmp_path / "saved", tmp_path / "exported", separator="</s>")
    again = build_encoder(EncoderConfig(path=str(folder)), tokenizer, 1, 0)
    assert torch.equal(again.encode(IDS, MASK, "query"), vectors)
    if pooling == "t5":
        with torch.no_grad():
            theirs = FirstDecoderState.load(str(folder))({"input_ids": IDS, "attention_mask": MASK})
        torch.testing.assert_close(theirs["sentence_embedding"], vectors.detach())


@pytest.mark.parametrize("kind", ["T5", "MT5", "UMT5", "LongT5", "SwitchTransformers"])
def test_a_t5_without_a_decoder_cannot_be_pooled_there(kind: str, tmp_path: Path) -> None:
    tokenizer = write_t5(tmp_path / "made", kind, "EncoderModel", **(SPARSE if kind[0] == "S" else {}))
    with pytest.raises(ConfigError, match="needs a T5's decoder"):
        build_encoder(EncoderConfig(path=str(tmp_path / "made"), pooling="t5"), tokenizer, 1, 0)


@pytest.mark.parametrize("kind", ["DPRContextEncoder", "DPRQuestionEncoder"])
def test_both_encoders_of_dpr_have_their_own_weights(kind: str, tmp_path: Path) -> None:
    import transformers

    tokenizer = tiny_tokenizer(WORDS)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    torch.manual_seed(0)
    dpr = getattr(transformers, kind)(transformers.DPRConfig(vocab_size=len(tokenizer), **sizes)).eval()
    dpr.save_pretrained(tmp_path / "made")
    tokenizer.save_pretrained(str(tmp_path / "made"))
    encoder = build_encoder(EncoderConfig(path=str(tmp_path / "made")), tokenizer, 1, 0)
    with torch.no_grad():
        theirs = dpr(input_ids=IDS, attention_mask=MASK).pooler_output
        torch.testing.assert_close(encoder.encode(IDS, MASK, "query"), theirs)


def test_the_reader_of_dpr_is_refused(tmp_path: Path) -> None:
    import transformers

    tokenizer = tiny_tokenizer(WORDS)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    transformers.DPRReader(transformers.DPRConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(str(tmp_path))
    with pytest.raises(ConfigError, match="DPRReader"):
        build_encoder(EncoderConfig(path=str(tmp_path)), tokenizer, 1, 0)


def test_a_folder_of_both_encoders_of_dpr_is_read_as_its_architecture_says(tmp_path: Path) -> None:
    """Some checkpoints hold both sides; the class named in config.json decides, not the order of the file."""
    import transformers
    from safetensors.torch import load_file, save_file

    tokenizer = tiny_tokenizer(WORDS)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    weights = {}
    for kind in ("DPRContextEncoder", "DPRQuestionEncoder"):
        dpr = getattr(transformers, kind)(transformers.DPRConfig(vocab_size=len(tokenizer), **sizes)).eval()
        dpr.save_pretrained(tmp_path)
        weights |= load_file(tmp_path / "model.safetensors")
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    tokenizer.save_pretrained(str(tmp_path))
    encoder = build_encoder(EncoderConfig(path=str(tmp_path)), tokenizer, 1, 0)
    with torch.no_grad():
        theirs = dpr(input_ids=IDS, attention_mask=MASK).pooler_output
        torch.testing.assert_close(encoder.encode(IDS, MASK, "query"), theirs)
