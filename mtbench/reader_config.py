"""The settings of the reader: section ``reader``, which counts only where a run asks for answers (``--reader``)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from mtbench.sections import Section

RATES = {"random": 4e-3, "pre-trained": 3e-5}
"""Learning rates by kind of start."""
TINY_SIZES = frozenset({"hidden", "layers", "decoder_layers", "feed_forward", "heads", "vocabulary"})
"""Settings of the reader that is made anew."""
OF_STUDY = frozenset(
    {
        "batch_size",
        "lr_warmup",
        "weight_decay",
        "clip_norm",
        "query_length",
        "passage_length",
        "answer_length",
        "precision",
    }
) | {"sharing", "start_steps", "start_lr"}
"""Settings of what comes before all retrieval."""


class ReaderConfig(Section):
    """The sequence-to-sequence model that answers from the passages found, and how it is fine-tuned and decoded.

    ``path="tiny"`` makes a small T5 that is built to copy (``mtbench.reader.model``) and a tokenizer from the suite's
    own text.
    """

    without_effect = frozenset({"checkpoint_every"})

    path: str = Field("tiny", description="'tiny', a folder, package:MODULE/FOLDER, or a Hugging Face hub name")
    sharing: Literal["shared", "per-task"] = Field(
        "shared", description="one reader of all tasks, whose queries begin with the task's prompt, or one for each"
    )
    passages: int = Field(3, ge=1, description="best passages that stand behind a query")
    query_length: int = Field(64, ge=4, description="tokens of a query")
    passage_length: int = Field(160, ge=8, description="tokens of each passage, title included")
    answer_length: int = Field(32, ge=2, description="tokens of an answer")
    lr: float | None = Field(
        None, gt=0, description=f"auto: {RATES['random']:g} for tiny, {RATES['pre-trained']:g} for a pre-trained one"
    )
    batch_size: int = Field(16, ge=1, description="queries a step, over all ranks")
    epochs: float = Field(1, gt=0)
    steps: int | None = Field(None, ge=1, description="instead of epochs; with per-task of each reader")
    start_steps: int = Field(
        0,
        ge=0,
        description="steps on queries with a relevant passage before a reader meets a retriever, shared by all rows: "
        "what pre-training is to a reader of random weights",
    )
    start_lr: float = Field(RATES["random"], gt=0, description="learning rate of these")
    lr_warmup: float = Field(0.1, ge=0, lt=1, description="share of linear warm-up of the learning rate")
    weight_decay: float = Field(0.0, ge=0)
    clip_norm: float = Field(1.0, ge=0, description="of the gradient; 0: no clipping")
    beams: int = Field(1, ge=1, description="of decoding; 1: greedy")
    precision: Literal["fp32", "bf16"] = Field("fp32", description="of autocast; weights stay fp32")
    gradient_checkpointing: bool = False
    checkpoint_every: int = Field(100, ge=1, description="steps")
    hidden: int = Field(64, ge=8, description="tiny: model dimension")
    layers: int = Field(1, ge=1, description="tiny: encoder layers")
    decoder_layers: int = Field(3, ge=1, description="tiny: decoder layers")
    feed_forward: int = Field(128, ge=8, description="tiny: inner dimension")
    heads: int = Field(4, ge=1, description="tiny: attention heads")
    vocabulary: int = Field(4096, ge=64, le=65535, description="tiny: tokens of the trained tokenizer")

    @model_validator(mode="after")
    def _follow_the_start(self) -> ReaderConfig:
        if self.path == "tiny" and self.hidden % self.heads:
            raise ValueError(f"hidden={self.hidden} is not a multiple of heads={self.heads}")
        if self.lr is None:
            object.__setattr__(self, "lr", RATES["random" if self.path == "tiny" else "pre-trained"])
        return self
