"""How many coordinates a pass takes at a time."""

from __future__ import annotations

import torch

GPU_CHUNK = 1 << 22
"""On a GPU: large against what starting a kernel costs, small against the memory."""


def chunk_size(device: torch.device, on_processor: int) -> int:
    """Coordinates per chunk: ``on_processor``, which fits its cache, or :data:`GPU_CHUNK`."""
    return on_processor if device.type == "cpu" else GPU_CHUNK
