"""Vectors of corpora and queries: length-sorted batches, fp16 shards on disk, resumable by shard."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from mtbench import interrupts
from mtbench.errors import RunError
from mtbench.model.encoder import DualEncoder, Side
from mtbench.model.padding import pad
from mtbench.storage.atomic import replacing

LARGEST_HALF = 65504.0


class Texts(Protocol):
    """What encoding needs of passages or queries: token ids by row."""

    def __len__(self) -> int: ...
    def tokens(self, i: int) -> np.ndarray:
        """Token ids of text i, special tokens included."""
        ...


class Encoder:
    """Encodes token ids with a model. ``tokens_per_batch`` bounds rows times length of a batch; ``trained`` says
    whether training made the weights, which an error then blames."""

    def __init__(self, model: DualEncoder, padding: int, tokens_per_batch: int, trained: bool = False) -> None:
        self.model, self.padding, self.tokens_per_batch = model.eval(), padding, tokens_per_batch
        self.trained = trained
        self.device = next(model.parameters()).device

    def vectors(
        self,
        texts: Texts,
        rows: Sequence[int] | np.ndarray,
        side: Side,
        task: int | None = None,
        progress: Callable[[int], None] | None = None,
        share: tuple[int, int] = (0, 1),
    ) -> np.ndarray:
        """Vectors float32 ``(len(rows), d)``, in the order of ``rows``. RunError if one is not finite.

        With ``share`` (r, n) only every n-th batch from the r-th on is encoded, the other vectors are 0: the sum over
        r is the whole, equal in every bit since the batches are the same.
        """
        tokens = [texts.tokens(int(i)) for i in rows]
        out = np.zeros((len(tokens), self.model.dimension), dtype=np.float32)
        for places in itertools.islice(self._batches([len(t) for t in tokens]), share[0], None, share[1]):
            out[places] = self._encode([tokens[p] for p in places], side, task)
            if progress:
                progress(len(places))
        if not np.isfinite(out).all():
            raise RunError(self._why_not_finite())
        return out

    def _why_not_finite(self) -> str:
        """Blames a learning rate only where training can have done it."""
        if all(torch.isfinite(p).all() for p in self.model.parameters()):
            grown = "; or training made its weights too large: lower train.lr" if self.trained else ""
            return (
                "the encoder gives vectors that are not finite, though its weights are: numbers overflow on the way "
                f"(encoder.precision={self.model.settings.precision})\n  --set encoder.precision=fp32, or another "
                f"encoder{grown}."
            )
        if self.trained:
            return "the encoder's weights are not finite: training diverged\n  Lower train.lr and train.warmup_lr."
        return "the encoder's weights are not finite, before any training\n  Fetch it again, or take another encoder."

    def _batches(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        """Places sorted by length, cut so that a batch's padded size stays within the budget."""
        batch: list[int] = []
        for place in np.argsort(np.asarray(lengths), kind="stable"):
            longest = max(1, lengths[place])
            if batch and longest * (len(batch) + 1) > self.tokens_per_batch:
                yield batch
                batch = []
            batch.append(int(place))
        if batch:
            yield batch

    @torch.inference_mode()
    def _encode(self, tokens: list[np.ndarray], side: Side, task: int | None) -> np.ndarray:
        ids, mask = pad(tokens, self.padding, self.device)
        vectors = self.model.encode(ids, mask, side, task)
        return vectors.cpu().numpy()


def encode_corpus(
    encoder: Encoder,
    corpus: Texts,
    folder: Path,
    shard_size: int,
    progress: Callable[[int, int], None] | None = None,
    mine: Callable[[int], bool] = lambda number: True,
) -> None:
    """Write ``shard-00000.npy`` and so on (float16 ``(n, d)``) into ``folder``; shards that stand are kept.

    Of several processes each writes the shards whose numbers are ``mine``.
    RunError if a vector does not fit into half precision.
    """
    folder.mkdir(parents=True, exist_ok=True)
    total = len(corpus)
    for number, start in enumerate(range(0, total, shard_size)):
        interrupts.check()
        target = folder / f"shard-{number:05d}.npy"
        rows = np.arange(start, min(start + shard_size, total))
        if not mine(number):
            continue
        if not target.exists():
            done = start

            def advance(count: int) -> None:
                nonlocal done
                done += count
                if progress:
                    progress(done, total)

            vectors = encoder.vectors(corpus, rows, "passage", progress=advance)
            if np.abs(vectors).max(initial=0.0) > LARGEST_HALF:
                raise RunError("passage vectors exceed half precision (65504); set encoder.normalize=true")
            with replacing(target) as part, open(part, "wb") as stream:
                np.save(stream, vectors.astype(np.float16))
        if progress:
            progress(int(rows[-1]) + 1, total)


def open_shards(folder: Path) -> list[np.ndarray]:
    """The memory-mapped shards that :func:`encode_corpus` wrote, in order."""
    return [np.load(file, mmap_mode="r") for file in sorted(folder.glob("shard-*.npy"))]
