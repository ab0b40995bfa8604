"""The reader's model and tokenizer: any sequence-to-sequence model that transformers loads, or a tiny T5 made anew.

The tiny one learns to answer within minutes on a processor because it can copy from its first step on: cross-attention
hands the embedding of the token that it looks at straight to the output, whose weights are the same embeddings, and
heads of the encoder look at near neighbours. Where to look is what training is about. Everything else is drawn at
random, as T5 draws it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from mtbench.config import ReaderConfig
from mtbench.errors import ConfigError
from mtbench.model.loading import from_pretrained, quiet
from mtbench.model.tokenizer import byte_pair_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

BUCKETS, DISTANCE = 32, 128
"""Of T5's relative positions."""
NEAR = ((-3, -1), (-8, -3), (1, 4))
"""Neighbours that the first heads of the encoder look at before training, as first and last distance."""
LOOKS = 4.0
"""How much more than at others, as a logit."""
QUIET = 0.1
"""What the other parts of a tiny reader's blocks are scaled by, so that the tokens' embeddings stand out."""
_REMEDY = "Give a folder or hub name of a sequence-to-sequence model (T5, BART) with --set reader.path=NAME"


def train_reader_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """A byte-pair tokenizer that gives texts back as they were, but for spaces: answers are compared by the letter."""
    from tokenizers import decoders

    return byte_pair_tokenizer(texts, vocabulary, decoder=decoders.Metaspace())


def tiny_reader(settings: ReaderConfig, tokenizer: PreTrainedTokenizerFast, seed: int) -> PreTrainedModel:
    """A small T5 that copies, drawn from ``seed``; the caller's generator stays as it was."""
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=settings.hidden,
        d_kv=settings.hidden // settings.heads,
        d_ff=settings.feed_forward,
        num_layers=settings.layers,
        num_decoder_layers=settings.decoder_layers,
        num_heads=settings.heads,
        relative_attention_num_buckets=BUCKETS,
        relative_attention_max_distance=DISTANCE,
        dropout_rate=0.0,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    config.decoder_start_token_id = tokenizer.pad_token_id
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = T5ForConditionalGeneration(config)
    _let_it_copy(model, settings)
    return cast("PreTrainedModel", model)


@torch.no_grad()
def _let_it_copy(model: Any, settings: ReaderConfig) -> None:
    identity = torch.eye(settings.hidden)
    for block in model.decoder.block:
        looking = block.layer[1].EncDecAttention
        looking.v.weight.copy_(identity)
        looking.o.weight.copy_(identity)
        block.layer[0].SelfAttention.o.weight.mul_(QUIET)
        block.layer[2].DenseReluDense.wo.weight.mul_(QUIET)
    for block in model.encoder.block:
        block.layer[0].SelfAttention.o.weight.mul_(0.5)
        block.layer[1].DenseReluDense.wo.weight.mul_(QUIET)
    first = model.encoder.block[0].layer[0].SelfAttention
    distances = torch.arange(-DISTANCE, DISTANCE + 1)
    buckets = first._relative_position_bucket(distances, bidirectional=True, num_buckets=BUCKETS, max_distance=DISTANCE)
    for head, (low, high) in zip(range(settings.heads), NEAR, strict=False):
        near = buckets[(distances >= low) & (distances <= high)].unique()
        first.relative_attention_bias.weight[near, head] = LOOKS


def load_reader(path: str | Path) -> PreTrainedModel:
    """The sequence-to-sequence model of a folder, in single precision; ConfigError for what is none."""
    model = from_pretrained("AutoModelForSeq2SeqLM", path, what="sequence-to-sequence model", remedy=_REMEDY)
    return cast("PreTrainedModel", model.float())


def load_reader_tokenizer(path: str | Path) -> PreTrainedTokenizerFast:
    """The tokenizer beside it; ConfigError where it is no fast one or cannot pad."""
    tokenizer: Any = from_pretrained("AutoTokenizer", path, what="tokenizer", remedy=_REMEDY)
    if not getattr(tokenizer, "is_fast", False) or tokenizer.pad_token_id is None:
        raise ConfigError(f"reader {str(path)!r} has no fast tokenizer with a padding token\n  {_REMEDY}")
    return cast("PreTrainedTokenizerFast", tokenizer)


def save_reader(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """A folder that :func:`load_reader` and transformers load."""
    with quiet():
        model.save_pretrained(str(folder))
        tokenizer.save_pretrained(str(folder))
