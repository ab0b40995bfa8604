"""Nested state (dicts, lists, tuples of tensors, arrays and plain values): copied, moved, measured."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor


def copied(value: Any) -> Any:
    """A copy, whose tensors lie on the CPU: a second one of all state may be more than a GPU holds."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    return _each(copied, value) if isinstance(value, (dict, list, tuple)) else copy.deepcopy(value)


def moved(value: Any, device: torch.device) -> Any:
    """``value`` with its tensors, however deep, on ``device``."""
    if isinstance(value, Tensor):
        return value.to(device)
    return _each(lambda v: moved(v, device), value)


def nbytes(value: Any) -> int:
    """Bytes of the tensors, arrays and numbers in ``value``."""
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, dict):
        return sum(nbytes(v) for v in value.values())
    if isinstance(value, (list, tuple)):
        return sum(nbytes(v) for v in value)
    return 8 if isinstance(value, (int, float)) else 0


def _each(change: Callable[[Any], Any], value: Any) -> Any:
    if isinstance(value, dict):
        return {key: change(v) for key, v in value.items()}
    return type(value)(change(v) for v in value) if isinstance(value, (list, tuple)) else value
