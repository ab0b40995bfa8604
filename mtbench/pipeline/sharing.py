"""What several plans have in common."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mtbench.pipeline.plan import Stage
from mtbench.storage.store import Store


@dataclass(frozen=True)
class Sharing:
    """What several plans have in common: stages in all, distinct ones, and those that stand in the store."""

    total: int
    distinct: tuple[Stage, ...]
    users: dict[str, int]
    cached: frozenset[str]


def shared_stages(plans: Iterable[tuple[Stage, ...]], store: Store) -> Sharing:
    """Count stages over runs; distinct ones in an order in which they can be computed."""
    seen: dict[str, Stage] = {}
    users: dict[str, int] = {}
    total = 0
    for stages in plans:
        for stage in stages:
            total += 1
            seen.setdefault(stage.key, stage)
            users[stage.key] = users.get(stage.key, 0) + 1
    cached = frozenset(key for key, stage in seen.items() if store.has(stage.name, key))
    return Sharing(total, tuple(seen.values()), users, cached)
