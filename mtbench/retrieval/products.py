"""Dot products that depend on two vectors alone, and how far fast ones may lie from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mtbench.errors import RunError

if TYPE_CHECKING:
    import torch

_UNIT_ROUNDOFF = 2.0**-24
_FLIP = 0x7FFFFFFF
TINY = 1e-30


def dot_products(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Dot products of paired rows, float32[P], as a pure function of each pair.

    ``left`` and ``right`` are [P, d]. Products in float64 (exact for float32 times float16) are added by halves:
    only elementwise operations, whose results depend neither on P nor on the device.
    """
    import torch

    terms = left.to(torch.float64) * right
    width = terms.shape[1]
    while width > 1:
        half = (width + 1) // 2
        terms[:, : width - half] += terms[:, half:width]
        width = half
    return terms[:, 0].to(torch.float32) if width else terms.new_zeros(len(terms), dtype=torch.float32)


def error_bound(passage_norm: float, dimension: int) -> float:
    """How far a float32 product in any order of summation may lie from :func:`dot_products`, per unit of |query|.

    Twice the bound in exact_search.py's docstring, plus the rounding of the exact score itself and of comparisons. Add
    :data:`TINY` for products that underflow.
    """
    return 2 * (dimension + 4) * _UNIT_ROUNDOFF * passage_norm


def checked_norms(vectors: np.ndarray, what: str, first_row: int = 0) -> np.ndarray:
    """Euclidean norms float64[n]; raises RunError that names the first row with a NaN or an infinity."""
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
    bad = np.flatnonzero(~np.isfinite(norms))
    if len(bad):
        raise RunError(
            f"the embedding of {what} {first_row + int(bad[0])} is not finite ({len(bad)} such in this block).\n"
            "  The model has diverged or overflowed in half precision: lower the learning rate, or encode in bf16 or "
            "fp32."
        )
    return norms


def check_range(largest_query: float, largest_passage: float) -> None:
    """Raises RunError if a dot product of vectors with at most these norms could overflow float32."""
    if largest_query * largest_passage > float(np.finfo(np.float32).max) / 4:
        raise RunError("the embeddings are too large: their dot products overflow float32")


def tensor_keys(scores: torch.Tensor, ranks: torch.Tensor) -> torch.Tensor:
    """As :func:`mtbench.retrieval.ranking.sort_keys`, in torch."""
    import torch

    bits = (scores + 0.0).view(torch.int32).to(torch.int64)
    bits = torch.where(bits < 0, bits ^ _FLIP, bits)
    return (bits << 32) | ranks


def tensor_scores(keys: torch.Tensor) -> torch.Tensor:
    """The float32 scores inside ``keys``; NaN for ``NO_KEY``."""
    import torch

    bits = keys >> 32
    return torch.where(bits < 0, bits ^ _FLIP, bits).to(torch.int32).view(torch.float32)
