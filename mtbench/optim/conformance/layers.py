"""Layers: a model of several stacks of blocks, whose parameters may lie in any order."""

from __future__ import annotations

from mtbench.hyperparameters import hyperparameters
from mtbench.optim.conformance.bench import SIZE, Step, Subject, conflicting_steps, require_equal, run, same
from mtbench.optim.contract import Layout

PARTS = [
    ("embedding.weight", 5),
    ("encoder.block.0.weight", 3),
    ("encoder.block.0.scale", 1),
    ("encoder.block.1.weight", 4),
    ("encoder.final_norm.weight", 1),
    ("query.weight", 0),
    ("decoder.block.0.weight", 3),
    ("decoder.block.1.weight", 4),
    ("decoder.final_norm.weight", 2),
    ("head.bias", 1),
]
"""Two numbered stacks, tensors of one number, and one of none."""
ORDER = [6, 2, 8, 4, 0, 7, 5, 9, 1, 3]


def laid_out(order: list[int]) -> tuple[Layout, list[int]]:
    """The layout with the parts in ``order``, and for each of its columns the column in the usual layout."""
    starts = [sum(n for _, n in PARTS[:i]) for i in range(len(PARTS))]
    layout: list[tuple[str, int, int]] = []
    columns: list[int] = []
    for part in order:
        name, count = PARTS[part]
        layout.append((name, len(columns), len(columns) + count))
        columns += range(starts[part], starts[part] + count)
    return layout, columns


LAYOUT, _ALL = laid_out(list(range(len(PARTS))))
assert len(_ALL) == SIZE


def layered(subject: Subject) -> list[Subject]:
    """The subject with each choice under which a layout makes a difference."""
    stream, found = conflicting_steps(steps=2), []
    for declared in hyperparameters(subject.cls).values():
        choices = () if declared.name == "scale" else declared.choices
        for one in (subject.using(**{declared.name: choice}) for choice in choices):
            if not same(run(one.start(layout=LAYOUT), stream), run(one.start(), stream)):
                found.append(one)
    return found


def layers(subject: Subject) -> str:
    """Other places of the parameters, with their columns, give the same update at other places."""
    if subject.cls.random and subject.cls.cost == "elementwise":
        return "random by coordinate: the places of the coordinates are part of the draws"
    stream = conflicting_steps(steps=6)
    for layout in (None, LAYOUT):
        _permuted(subject, stream, layout, laid_out(ORDER)[1])
    if not subject.cls.random:  # of several blocks each draws in its turn
        for one in layered(subject):
            _permuted(one, stream[:2], LAYOUT, laid_out(ORDER)[1])
    return "a layout of two stacks in another order, and no layout at all, give the same update at other places"


def _permuted(subject: Subject, stream: list[Step], layout: Layout | None, columns: list[int]) -> None:
    other = None if layout is None else laid_out(ORDER)[0]
    usual = run(subject.start(layout=layout), stream)
    turned = run(subject.start(layout=other, columns=columns), [(g[:, columns], losses) for g, losses in stream])
    for step, (a, b) in enumerate(zip(usual, turned, strict=True)):
        where = "without a layout" if layout is None else "the layout's names with their columns"
        said = f" with {subject.params}" if subject.params else ""
        what = f"step {step}{said}, columns permuted, {where}, against the update permuted"
        cause = (
            "find parameters by their names in self.layout, not by their places"
            if layout
            else "a coordinate's place matters somewhere"
        )
        require_equal(b, a[columns], 1e-7, what, cause)
