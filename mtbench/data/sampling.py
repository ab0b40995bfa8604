"""The seeded choice of train queries: papers cut the largest tasks (T-REx and zero-shot RE) to a part of their data."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable
from typing import TypeVar

from mtbench.data.types import QuerySplit

Item = TypeVar("Item")


def smallest_hashes(items: Iterable[tuple[int, Item]], size: int | None, seed: int) -> list[Item]:
    """``size`` of the numbered ``items``, every subset equally likely, in their order; all of them for None.

    Those with the smallest hash of (seed, number) are kept, so memory is that of the sample, the choice of an item
    depends on nothing else, and a smaller sample lies inside a larger one.
    """
    if size is None:
        return [item for _, item in items]
    heap: list[tuple[int, int, Item]] = []
    for number, item in items:
        digest = hashlib.blake2b(f"{seed}:{number}".encode(), digest_size=8).digest()
        entry = (-int.from_bytes(digest), number, item)
        if len(heap) < size:
            heapq.heappush(heap, entry)
        else:
            heapq.heappushpop(heap, entry)
    return [item for _, _, item in sorted(heap, key=lambda entry: entry[1])]


def sampled(split: QuerySplit, size: int | None, seed: int) -> QuerySplit:
    """The split with ``size`` of its queries, or all of them where it has no more."""
    if size is None or size >= len(split):
        return split
    return split.take(smallest_hashes(((i, i) for i in range(len(split))), size, seed))
