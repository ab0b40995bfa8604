"""Tokenizers: loaded from an encoder's folder or hub name, or trained on a suite's own text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

from mtbench.errors import ConfigError
from mtbench.model.loading import from_pretrained

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_REMEDY = "Give a folder with tokenizer.json, or fetch a hub's encoder: mtbench prepare SUITE --encoder NAME"
SPECIAL_TOKENS = ("<pad>", "</s>", "<unk>", "[START_ENT]", "[END_ENT]")


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """A lower-casing byte-pair tokenizer with at most ``vocabulary`` tokens that ends every sequence with ``</s>``.

    Byte-pair merges, because their training is deterministic (the library's unigram and word-piece trainers are not).
    """
    from tokenizers import normalizers

    lower = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    return byte_pair_tokenizer(texts, vocabulary, normalizer=lower)


def byte_pair_tokenizer(
    texts: Iterable[str], vocabulary: int, *, normalizer: Any = None, decoder: Any = None
) -> PreTrainedTokenizerFast:
    """Byte pairs of words between spaces and punctuation, an end token behind every text; ``normalizer`` and
    ``decoder``: those of the library."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation()])
    if decoder is not None:
        tokenizer.decoder = decoder
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=list(SPECIAL_TOKENS), show_progress=False, min_frequency=2
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", tokenizer.token_to_id("</s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=["[START_ENT]", "[END_ENT]"],
    )


def load_tokenizer(path: str) -> PreTrainedTokenizerFast:
    """The tokenizer of an encoder folder or hub name; ConfigError with the remedy if it is not here."""
    tokenizer: Any = from_pretrained("AutoTokenizer", path, what="tokenizer", remedy=_REMEDY)
    if not getattr(tokenizer, "is_fast", False):
        raise ConfigError(
            f"encoder {path!r} has no fast tokenizer ({type(tokenizer).__name__}), which mtbench relies on\n"
            "  Save one as tokenizer.json (transformers' tokenizer.save_pretrained writes it where there is one), or "
            "choose another encoder."
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return cast("PreTrainedTokenizerFast", tokenizer)
