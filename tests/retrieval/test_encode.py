"""Vectors of texts: what is said where they are not finite. What they are is tested with the pipeline."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from data.small_suites import tiny_tokenizer

from mtbench.config import EncoderConfig
from mtbench.errors import RunError
from mtbench.model.encoder import DualEncoder, build_encoder
from mtbench.retrieval.encode import Encoder


class Texts:
    def __len__(self) -> int:
        return 3

    def tokens(self, i: int) -> np.ndarray:
        return np.array([5 + i, 6, 1])


@pytest.fixture
def model() -> DualEncoder:
    settings = EncoderConfig(hidden=16, heads=2, feed_forward=16, vocabulary=64)
    return build_encoder(settings, tiny_tokenizer(["amber birch cedar"] * 4), 1, 0)


def message(model: DualEncoder, trained: bool) -> str:
    with pytest.raises(RunError) as caught:
        Encoder(model, 0, 64, trained).vectors(Texts(), range(3), "passage")
    return str(caught.value)


def test_weights_that_are_not_finite_blame_a_rate_only_after_training(model: DualEncoder) -> None:
    with torch.no_grad():
        next(model.parameters()).fill_(torch.nan)
    assert "training diverged" in message(model, True) and "Lower train.lr" in message(model, True)
    assert "before any training" in message(model, False) and "train.lr" not in message(model, False)


def test_numbers_that_overflow_on_the_way_are_told_apart_from_weights(model: DualEncoder) -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("final_layer_norm.weight"):
                parameter.fill_(3e38)
    assert "though its weights are" in message(model, False) and "train.lr" not in message(model, False)
    assert "lower train.lr" in message(model, True)
