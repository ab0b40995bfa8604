"""A tokenizer, a tiny reader and examples to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from mtbench.config import ReaderConfig
from mtbench.reader.model import save_reader, tiny_reader, train_reader_tokenizer
from mtbench.reader.texts import Asked, ReaderTexts
from mtbench.reader.training import Lesson

PLACES = ["Arden", "Bath", "Cork", "Dover", "Eton", "Fife", "Goole", "Hythe"]
SENTENCES = [f"The keeper of lamp {i} lives in {place}." for i in range(8) for place in PLACES]
SEEN = 48
"""Examples to learn from; the other 16 are new pairs of a lamp and a place."""
SETTINGS = ReaderConfig(
    hidden=32, heads=2, feed_forward=32, decoder_layers=2, vocabulary=256, passages=2, answer_length=8, batch_size=4,
    checkpoint_every=2,
)  # fmt: skip


def texts(settings: ReaderConfig = SETTINGS) -> ReaderTexts:
    """With a tokenizer of these sentences."""
    words = [*SENTENCES, "question: title: context: ASK where lives the keeper of lamp", "Don't; stop, or (go) on?"]
    return ReaderTexts(train_reader_tokenizer(words * 2, settings.vocabulary), settings)


def example(number: int) -> tuple[Asked, str]:
    """Where a keeper lives, told in the first of two passages: 64 in all, each lamp with each place."""
    lamp, shift = number % 8, number // 8
    place, other = (lamp + shift) % 8, (lamp + 3) % 8
    passages = [("", SENTENCES[8 * lamp + place]), ("", SENTENCES[8 * other + (place + 5) % 8])]
    return Asked(f"where lives the keeper of lamp {lamp}", "ASK", passages), PLACES[place]


def lesson(steps: int, seed: int = 0) -> Lesson:
    """Of the first :data:`SEEN`."""
    return Lesson("all", SEEN, example, seed, steps)


def model(read: ReaderTexts, seed: int = 0) -> object:
    """A tiny reader."""
    return tiny_reader(read.settings, read.tokenizer, seed)


def write_bart(folder: Path, words: Sequence[str]) -> Path:
    """A folder with a small BART of random weights and a byte-level tokenizer that puts signs on both sides."""
    from tokenizers import ByteLevelBPETokenizer
    from tokenizers.processors import RobertaProcessing
    from transformers import BartConfig, BartForConditionalGeneration, PreTrainedTokenizerFast

    made = ByteLevelBPETokenizer()
    made.train_from_iterator(
        list(words) * 2, vocab_size=400, special_tokens=["<s>", "<pad>", "</s>", "<unk>"], show_progress=False
    )
    made._tokenizer.post_processor = RobertaProcessing(("</s>", 2), ("<s>", 0))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made._tokenizer, bos_token="<s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    config = BartConfig(
        vocab_size=len(tokenizer), d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, max_position_embeddings=256,
        pad_token_id=1, bos_token_id=0, eos_token_id=2, decoder_start_token_id=2, forced_eos_token_id=2,
    )  # fmt: skip
    torch.manual_seed(0)
    save_reader(BartForConditionalGeneration(config), tokenizer, folder)
    return folder
