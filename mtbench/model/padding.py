"""Token ids of different lengths as one tensor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def pad(sequences: Sequence[np.ndarray], padding: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids ``(B, L)`` int64 and their mask ``(B, L)``, filled up with ``padding`` to the longest sequence."""
    longest = max(1, max((len(s) for s in sequences), default=1))
    ids = np.full((len(sequences), longest), padding, dtype=np.int64)
    mask = np.zeros_like(ids)
    for i, sequence in enumerate(sequences):
        ids[i, : len(sequence)] = sequence
        mask[i, : len(sequence)] = 1
    return torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)
