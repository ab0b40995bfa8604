"""Whether an encoder can do what a run will ask of it, before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from mtbench.config import EncoderConfig
from mtbench.errors import ConfigError
from mtbench.model.architecture import is_t5
from mtbench.model.encoder import DualEncoder, build_encoder
from mtbench.model.folder import EncoderFolder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PROBE = "Title: Alpha Text: Alpha was written by Ann, and nobody knows when or where she wrote it. "


@dataclass(frozen=True)
class Longest:
    """The longest texts of one kind that a run will encode: ``tokens``, whose they are, and what makes them shorter."""

    tokens: int
    whose: str
    remedy: str
    """The setting, without its value."""
    besides: int = 0
    """Tokens that the setting does not count: those of the prompt."""


def validate_encoder(
    settings: EncoderConfig,
    facts: EncoderFolder,
    tokenizer: PreTrainedTokenizerFast,
    longest: list[Longest],
    families: Sequence[str],
) -> None:
    """Load the encoder as the run will, and encode one text of the longest length. ``families``: of each task.

    ConfigError, naming both sides and the remedy, for weights that are missing or not finite, a tokenizer with more
    tokens than the model has embeddings, texts longer than its positions, and whatever else keeps it from encoding.
    """
    if not facts.towers:  # towers that begin as copies of one need be looked at once
        settings, families = settings.model_copy(update={"sharing": "shared"}), families[:1]
    model = build_encoder(settings, tokenizer, len(families), seed=0, families=families)
    for backbone in model.backbones.values():
        _check_embeddings(settings.path, backbone, tokenizer)
        _check_positions(settings.path, backbone, longest)
    _check_vectors(settings.path, model, tokenizer, max(item.tokens for item in longest))


def _check_embeddings(path: str, backbone: Any, tokenizer: PreTrainedTokenizerFast) -> None:
    rows = int(backbone.get_input_embeddings().weight.shape[0])
    tokens = max(len(tokenizer), 1 + max(tokenizer.get_vocab().values(), default=0))
    if tokens > rows:
        raise ConfigError(
            f"encoder {path!r}: its tokenizer has {tokens} tokens, its model embeddings for {rows}\n"
            "  Give the tokenizer that the model was trained with, or a model whose embeddings were resized "
            f"(transformers: model.resize_token_embeddings({tokens}))."
        )


def _check_positions(path: str, backbone: Any, longest: list[Longest]) -> None:
    positions = usable_positions(backbone)
    if positions is None:
        return
    too_long = [item for item in longest if item.tokens > positions]
    if not too_long:
        return
    asked = "; ".join(f"{item.whose} up to {item.tokens} tokens" for item in too_long)
    remedies = " ".join(f"--set {item.remedy}={positions - item.besides}" for item in too_long)
    raise ConfigError(
        f"encoder {path!r} has positions for {positions} tokens, but this run asks for more: {asked}\n"
        f"  Cut texts there: --set encoder.max_length={positions} (or {remedies})"
    )


def usable_positions(backbone: Any) -> int | None:
    """Tokens of the longest text that the model has positions for; None where positions are relative."""
    tables = [
        module
        for name, module in backbone.named_modules()
        if isinstance(module, nn.Embedding) and any(word in name.rpartition(".")[2] for word in ("position", "wpe"))
    ]
    if tables:
        return min(table.num_embeddings - _first_position(table) for table in tables)
    limit = getattr(backbone.config, "max_position_embeddings", None)
    return limit if isinstance(limit, int) and limit > 0 and not is_t5(backbone.config) else None


def _first_position(table: Any) -> int:
    """RoBERTa and its kin count from behind the padding's row, OPT and BART from a fixed row."""
    if table.padding_idx is not None:
        return int(table.padding_idx) + 1
    return int(getattr(table, "offset", 0))


@torch.inference_mode()
def _check_vectors(path: str, model: DualEncoder, tokenizer: PreTrainedTokenizerFast, tokens: int) -> None:
    text = PROBE * (1 + tokens // 8)
    ids = torch.tensor([tokenizer(text, truncation=True, max_length=tokens)["input_ids"]])
    towers = range(model.num_tasks) if len(model.backbones) > 2 else [0]
    try:
        vectors = [model.encode(ids, torch.ones_like(ids), "query", k) for k in towers]
        vectors.append(model.encode(ids, torch.ones_like(ids), "passage"))
    except Exception as error:  # noqa: BLE001 (a foreign model's errors have no common class)
        lines = str(error).strip().splitlines() or [type(error).__name__]
        kind = type(model.any_backbone).__name__
        raise ConfigError(
            f"encoder {path!r}: {kind} gives no vector of a text of {ids.shape[1]} tokens: {lines[0]}\n"
            "  mtbench takes models that give hidden states of a text alone (BERT and its kin, decoders, T5)."
        ) from None
    lengths = {v.shape[-1] for v in vectors}
    if lengths != {model.dimension}:
        raise ConfigError(
            f"encoder {path!r} gives vectors of {max(lengths)} numbers, its config.json says {model.dimension}\n"
            "  mtbench takes models whose last hidden states have the length hidden_size."
        )
    if not all(torch.isfinite(v).all() for v in vectors):
        raise ConfigError(
            f"encoder {path!r} gives vectors that are not finite, before any training\n"
            "  Its weights are broken or too large for the precision: --set encoder.precision=fp32, or another encoder."
        )
