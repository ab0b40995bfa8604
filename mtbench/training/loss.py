"""The contrastive loss of one task's batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def nce(queries: Tensor, passages: Tensor, targets: Tensor, excluded: Tensor, scale: float = 1.0) -> Tensor:
    """Negative log-likelihood of the target among all passages of the batch, per query: ``(B,)``.

    ``queries`` (B, d), ``passages`` (C, d), ``targets`` (B,) columns, ``excluded`` (B, C) true where a passage is
    relevant for the query without being its target: it is no negative. Scores are dot products times ``scale``: cosines
    need one, since they lie in [-1, 1] and a softmax over them is nearly uniform.
    Karpukhin et al., "Dense Passage Retrieval", EMNLP 2020, Eq. 2.
    """
    scores = queries @ passages.t()
    if scale != 1.0:
        scores = scores * scale
    scores = scores.masked_fill(excluded, float("-inf"))
    return functional.cross_entropy(scores, targets, reduction="none")


def batch_loss(
    queries: Tensor, passages: Tensor, targets: Tensor, excluded: Tensor, total: int, scale: float = 1.0
) -> Tensor:
    """Sum of :func:`nce` over these queries, divided by ``total``, the queries of the batch on all ranks."""
    if queries.shape[0] == 0:
        return passages.sum() * 0.0 + queries.sum() * 0.0
    return nce(queries, passages, targets, excluded, scale).sum() / torch.tensor(float(total), device=queries.device)
