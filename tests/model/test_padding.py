"""Sequences of different lengths as one tensor."""

from __future__ import annotations

import numpy as np
import torch

from mtbench.model.padding import pad


def test_ids_and_mask_end_with_the_longest_sequence() -> None:
    ids, mask = pad([np.asarray([5, 6, 7], np.uint16), np.asarray([60_000], np.uint16)], 9, torch.device("cpu"))
    assert ids.tolist() == [[5, 6, 7], [60_000, 9, 9]] and mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert ids.dtype == mask.dtype == torch.int64


def test_nothing_is_one_column_wide() -> None:
    """An encoder needs at least one position, of an empty text and of no text."""
    assert pad([], 0, torch.device("cpu"))[0].shape == (0, 1)
    assert pad([np.empty(0, np.uint16)], 4, torch.device("cpu"))[0].tolist() == [[4]]
