"""Groups of parameters that get task weights of their own: a model's modules, or its tensors, by their names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from mtbench.errors import ConfigError
from mtbench.records.values import Report

Groups: TypeAlias = Literal["whole", "module", "tensor"]

_NUMBERED = re.compile(r"(?:[^.]+\.)*?\d+(?=\.)")


@dataclass(frozen=True)
class Block:
    """One group of parameters and where they lie; on a rank with a slice of the coordinates it may be empty."""

    name: str
    spans: tuple[tuple[int, int], ...]

    @property
    def size(self) -> int:
        """Coordinates here."""
        return sum(b - a for a, b in self.spans)


def blocks_of(layout: Sequence[tuple[str, int, int]] | None, groups: Groups, size: int) -> list[Block]:
    """The blocks of a vector of ``size`` coordinates, in the order in which they begin; one without a layout.

    ``module``: each numbered module (``encoder.block.3``), the outermost number counts, and the parameters outside of
    them by the first part of their names. ``tensor``: each parameter. Every rank gets the same blocks. ConfigError for
    a layout that leaves coordinates out.
    """
    if groups not in ("module", "tensor") or not layout:
        return [Block("all", ((0, size),))]
    spans: dict[str, list[tuple[int, int]]] = {}
    for name, start, stop in layout:
        own = spans.setdefault(name if groups == "tensor" else module_of(name), [])
        if own and own[-1][1] == start:
            own[-1] = (own[-1][0], stop)
        elif stop > start:
            own.append((start, stop))
    covered = sorted(piece for own in spans.values() for piece in own)
    ends = [0, *(stop for _, stop in covered)]
    if [start for start, _ in covered] != ends[:-1] or ends[-1] != size:
        raise ConfigError(f"groups={groups!r}: the layout must name every one of the {size} coordinates once")
    return [Block(name, tuple(own)) for name, own in spans.items()]


def module_of(name: str) -> str:
    """The numbered module that a parameter belongs to, or the first part of its name."""
    found = _NUMBERED.match(name)
    return found[0] if found else name.split(".")[0]


def averaged(notes: Sequence[Report], sizes: Sequence[float]) -> Report:
    """The notes of all blocks as one: whole numbers added up, others averaged by the blocks' sizes."""
    found: Report = {}
    for key in dict.fromkeys(key for own in notes for key in own):
        values = [(own[key], size) for own, size in zip(notes, sizes, strict=True) if key in own]
        if all(isinstance(v, int) for v, _ in values):
            found[key] = sum(v for v, _ in values)
        elif all(isinstance(v, (int, float)) for v, _ in values):
            found[key] = sum(v * size for v, size in values) / sum(size for _, size in values)
        else:
            found[key] = values[-1][0]
    return found
