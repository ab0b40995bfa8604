"""What a plan needs: the stages that have to be computed, and no others.

A run wants its record: scores, curves and statistics, which stand in the manifests of stages. Some stages give a
record nothing of their own: texts and vectors are there for whoever reads them. They are needed where a stage that
reads them is missing, and so on down to the raw data; a run whose results all stand needs no vectors, even if somebody
has deleted them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from mtbench.pipeline.plan import Stage

CARRIERS = frozenset({"prepare", "answers", "encode", "retrieve", "study"})
"""Stages without results: what they leave is for the stages that read it."""

SECOND_HAND = frozenset({"mine", "evaluate", "retrieve", "analyze"})
"""Stages that also read what one of theirs was made of: the model that encoded the passages and encodes queries, or the
examples that a model was trained on."""

Has = Callable[[str, str], bool]
"""Whether the stage of this name and fingerprint stands, with its files."""


def read_by(stage: Stage) -> dict[str, Stage]:
    """The stages whose files ``stage`` reads, by fingerprint."""
    found = {before.key: before for before in stage.inputs.values()}
    if stage.name in SECOND_HAND:
        found |= {s.key: s for before in stage.inputs.values() for s in before.inputs.values()}
    return found


def demanded(stages: Sequence[Stage], has: Has) -> dict[str, Stage]:
    """The stages to compute, by fingerprint, in an order in which they can be; ``stages`` in such an order.

    The last of them is asked for in any case, the others for what the record says of them.
    """
    needed: dict[str, Stage] = {}

    def require(stage: Stage) -> None:
        if stage.key not in needed and not has(stage.name, stage.key):
            for before in read_by(stage).values():
                require(before)
            needed[stage.key] = stage

    for stage in stages:
        if stage.name not in CARRIERS or stage is stages[-1]:
            require(stage)
    return needed


def all_demanded(plans: Iterable[Sequence[Stage]], has: Has) -> dict[str, Stage]:
    """Of several runs together."""
    needed: dict[str, Stage] = {}
    for stages in plans:
        needed |= demanded(stages, has)
    return needed
