"""What several plans have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mtbench.pipeline.demand import Has, all_demanded
from mtbench.pipeline.plan import Stage


@dataclass(frozen=True)
class Sharing:
    """What several plans have in common: stages in all, distinct ones, those that stand in the store, those to compute.

    A distinct stage that is in neither is gone and not needed.
    """

    total: int
    distinct: tuple[Stage, ...]
    users: dict[str, int]
    cached: frozenset[str]
    needed: frozenset[str]


def shared_stages(plans: Sequence[Sequence[Stage]], has: Has) -> Sharing:
    """Count stages over runs; distinct ones in an order in which they can be computed."""
    seen: dict[str, Stage] = {}
    users: dict[str, int] = {}
    total = 0
    for stages in plans:
        for stage in stages:
            total += 1
            seen.setdefault(stage.key, stage)
            users[stage.key] = users.get(stage.key, 0) + 1
    cached = frozenset(key for key, stage in seen.items() if has(stage.name, key))
    return Sharing(total, tuple(seen.values()), users, cached, frozenset(all_demanded(plans, has)))
