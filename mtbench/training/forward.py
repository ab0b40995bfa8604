"""Loss and gradient of one task's batch: whole, or in micro-batches with gradient caching.

Gradient caching (Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup", 2021): vectors
of all texts are first computed without graphs, the loss gives the gradient of each vector, and each micro-batch is then
encoded again and driven back with its vectors' gradients. The result is the gradient of the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor

from mtbench.config import Config
from mtbench.model.encoder import DualEncoder, Side
from mtbench.model.padding import pad
from mtbench.training.examples import TaskBatch, TaskExamples
from mtbench.training.loss import batch_loss
from mtbench.training.ranks import Ranks
from mtbench.training.streams import stream_seed


@dataclass
class Pending:
    """A loss that has been computed and can be driven back once; ``loss`` is over the whole batch of all ranks."""

    loss: float
    backward: Callable[[], None]


class TaskForward:
    """Computes one task's loss in a step. ``config.train.micro_batch`` texts at a time, 0 for all at once."""

    def __init__(self, model: DualEncoder, padding: int, device: torch.device, config: Config, ranks: Ranks) -> None:
        self.model, self.padding, self.device = model, padding, device
        self.micro_batch, self.ranks, self.scale = config.train.micro_batch, ranks, config.logit_scale

    def __call__(self, examples: TaskExamples, batch: TaskBatch, dropout_key: tuple[object, ...]) -> Pending:
        """The loss of one task; ``dropout_key`` names the stream that dropout draws from."""
        k = examples.place
        per_query = len(batch.passage_rows) // len(batch.query_rows)
        mine = self.ranks.share(len(batch.query_rows))
        rows = slice(mine.start * per_query, mine.stop * per_query)
        queries = [examples.queries.tokens(int(i)) for i in batch.query_rows[mine]]
        passages = [examples.corpus.tokens(int(i)) for i in batch.passage_rows[rows]]
        size = self.micro_batch or max(len(passages), 1)
        chunks = [
            *self._chunks("query", queries, size, dropout_key),
            *self._chunks("passage", passages, size, dropout_key),
        ]
        num_query_chunks = sum(c.side == "query" for c in chunks)
        cached = self.micro_batch > 0 and len(chunks) > 2
        with torch.set_grad_enabled(not cached):
            vectors = [self._encode(c, k) for c in chunks]
        if cached:
            vectors = [v.detach().requires_grad_() for v in vectors]
        loss = self._loss(batch, mine, vectors[:num_query_chunks], vectors[num_query_chunks:], per_query)
        total = float(self.ranks.all_reduce(loss.detach().clone()))
        if not cached:
            return Pending(total, loss.backward)
        return Pending(total, lambda: self._backward_cached(loss, chunks, vectors, k))

    def vectors(
        self, examples: TaskExamples, batch: TaskBatch, dropout_key: tuple[object, ...]
    ) -> tuple[Tensor, Tensor]:
        """This rank's queries of a task's batch (n, d), and the passages of all ranks (m, d), with their graphs."""
        count, k = len(batch.query_rows), examples.place
        per_query = len(batch.passage_rows) // max(count, 1)
        mine = self.ranks.share(count)
        rows = slice(mine.start * per_query, mine.stop * per_query)
        found = []
        for side, tokens, wanted in (
            ("query", examples.queries.tokens, batch.query_rows[mine]),
            ("passage", examples.corpus.tokens, batch.passage_rows[rows]),
        ):
            texts = [tokens(int(i)) for i in wanted]
            chunks = self._chunks(cast("Side", side), texts, max(len(texts), 1), dropout_key)
            found.append(self._join([self._encode(chunk, k) for chunk in chunks]))
        counts = [(share.stop - share.start) * per_query for share in self.ranks.shares(count)]
        return found[0], self.ranks.all_gather(found[1], counts)

    def _chunks(self, side: Side, tokens: list[np.ndarray], size: int, key: tuple[object, ...]) -> list[_Chunk]:
        starts = range(0, len(tokens), size)
        return [
            _Chunk(side, tokens[s : s + size], stream_seed("dropout", *key, side, s, self.ranks.rank)) for s in starts
        ]

    def _encode(self, chunk: _Chunk, k: int) -> Tensor:
        # set before every pass: a second pass over the chunk draws the same dropout
        torch.manual_seed(chunk.dropout_seed)
        ids, mask = pad(chunk.tokens, self.padding, self.device)
        return self.model.encode(ids, mask, chunk.side, k)

    def _loss(
        self, batch: TaskBatch, mine: slice, queries: list[Tensor], passages: list[Tensor], per_query: int
    ) -> Tensor:
        count = len(batch.query_rows)
        local_queries = self._join(queries)
        local_passages = self._join(passages)
        counts = [(share.stop - share.start) * per_query for share in self.ranks.shares(count)]
        gathered = self.ranks.all_gather(local_passages, counts)
        targets = torch.as_tensor(batch.targets[mine], device=self.device)
        excluded = torch.as_tensor(batch.excluded[mine], device=self.device)
        return batch_loss(local_queries, gathered, targets, excluded, count, self.scale)

    def _join(self, parts: list[Tensor]) -> Tensor:
        if parts:
            return torch.cat(parts)
        # a rank without rows still takes part in the exchange, forward and backward
        dtype = next(self.model.parameters()).dtype
        return torch.zeros(0, self.model.dimension, dtype=dtype, device=self.device, requires_grad=True)

    def _backward_cached(self, loss: Tensor, chunks: list[_Chunk], vectors: list[Tensor], k: int) -> None:
        loss.backward()
        for chunk, vector in zip(chunks, vectors, strict=True):
            self._encode(chunk, k).backward(vector.grad)


@dataclass
class _Chunk:
    side: Side
    tokens: list[np.ndarray]
    dropout_seed: int
