"""What a reader will cost, in floating-point operations: forward passes over the tokens that it reads and writes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mtbench.pipeline.plan import Stage
from mtbench.reader_config import ReaderConfig

BART_LARGE = {"encoder": 302e6, "handed": 50e6, "decoder": 505e6}
"""Operations of BART-large (406 M parameters, 12 and 12 layers of width 1,024): of a token that is read, of handing it
to the decoder's layers, and of a token that is written, output words included."""
ANSWER_TOKENS = 10.0
"""Mean tokens of an answer: one or two words but in dialogues."""
PASSAGE_TOKENS = 145.0


@dataclass(frozen=True)
class ReaderWork:
    """Operations of a token that is read, handed to the decoder, and written."""

    encoder: float
    handed: float
    decoder: float

    @classmethod
    def of(cls, reader: ReaderConfig) -> ReaderWork:
        """The tiny reader from its sizes; any other as BART-large."""
        if reader.path != "tiny":
            return cls(**BART_LARGE)
        width, inner = reader.hidden, reader.feed_forward
        encoder = 2.0 * reader.layers * (4 * width**2 + 2 * width * inner)
        handed = 4.0 * reader.decoder_layers * width**2
        decoder = 2.0 * reader.decoder_layers * (6 * width**2 + 2 * width * inner) + 2.0 * reader.vocabulary * width
        return cls(encoder, handed, decoder)


def reading_operations(
    stage: Stage, reader: ReaderConfig, train: Sequence[int], dev: Sequence[int], query_tokens: Sequence[int]
) -> float:
    """Of a ``read`` stage: three passes (four with recomputed activations) over what is trained on, and the answers.

    ``train``, ``dev``, ``query_tokens``: queries and their lengths, task by task.
    """
    work, depth = ReaderWork.of(reader), 0 if stage.settings.get("passages_of") == "closed-book" else reader.passages
    passages = depth * min(PASSAGE_TOKENS, reader.passage_length)
    lengths = [passages + min(tokens, reader.query_length) for tokens in query_tokens]
    reading = [length * (work.encoder + work.handed) for length in lengths]
    seen = _queries_seen(reader, train)
    passes = 4.0 if reader.gradient_checkpointing else 3.0
    training = sum(n * (r + ANSWER_TOKENS * work.decoder) for n, r in zip(seen, reading, strict=True)) * passes
    answering = sum(n * (r + reader.beams * ANSWER_TOKENS * work.decoder) for n, r in zip(dev, reading, strict=True))
    return float(training + answering)


def studying_operations(reader: ReaderConfig, train: Sequence[int], query_tokens: Sequence[int]) -> float:
    """Of a ``study`` stage: a quarter of its steps on queries alone, the others with one passage."""
    work, total = ReaderWork.of(reader), max(1, sum(train))
    query = sum(n * min(tokens, reader.query_length) for n, tokens in zip(train, query_tokens, strict=True)) / total
    read = (query + 0.75 * min(PASSAGE_TOKENS, reader.passage_length)) * (work.encoder + work.handed)
    return float(3.0 * reader.start_steps * reader.batch_size * (read + ANSWER_TOKENS * work.decoder))


def _queries_seen(reader: ReaderConfig, train: Sequence[int]) -> list[float]:
    """Training queries of each task over all steps."""
    if reader.steps is None:
        return [math.ceil(reader.epochs * n) for n in train]
    total = reader.steps * reader.batch_size
    if reader.sharing == "per-task":
        return [float(total) if n else 0.0 for n in train]
    return [total * n / max(1, sum(train)) for n in train]
