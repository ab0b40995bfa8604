"""What a board says in one sentence, made from its tests alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mtbench.report.rows import Row

MOST_NAMED = 5
"""Methods that a sentence names; of more it gives the number too."""


def conclusion(rows: Sequence[Row], baseline: str, detectable: Mapping[int, float]) -> list[str]:
    """One sentence about the rows of the table's own configuration, for somebody who knows no tests; none without one.

    A method counts as better or worse where its corrected p-value says so (``Difference.star``). Where nothing was
    shown, the sentence has the power: ``detectable``, the gain that as many seeds show four times out of five (before
    correction, so that it is the least that could be hoped for).
    """
    tested = [r for r in rows if r.kind == "optimizer" and not r.variant and r.gain and r.gain.p_holm is not None]
    gains = [(row.label, row.gain) for row in tested if row.gain is not None and row.gain.difference is not None]
    if not gains:
        return []
    better = [label for label, gain in gains if gain.star and (gain.difference or 0) > 0]
    worse = [label for label, gain in gains if gain.star and (gain.difference or 0) < 0]
    open_ = len(gains) - len(better) - len(worse)
    found = [f"{_names(labels)} {word} {baseline}" for labels, word in ((better, "above"), (worse, "below")) if labels]
    n = max(gain.n for _, gain in gains)
    power = ""
    if n in detectable:
        least = f"{100 * detectable[n]:.1f} points or more"
        power = f"; with {n} seeds only a true gain of about {least} would usually have been seen"
    if not found:
        count = "the method" if open_ == 1 else f"any of the {open_} methods"
        return [f"In short: this table does not show that {count} differs from {baseline}{power}."]
    text = f"In short: {', '.join(found)}, by more than chance explains"
    if not open_:
        return [f"{text}."]
    others = "one other" if open_ == 1 else f"the other {open_}"
    return [f"{text}; of {others} no difference from {baseline} was shown{power}."]


def _names(labels: Sequence[str]) -> str:
    named = list(labels[:MOST_NAMED])
    rest = len(labels) - len(named)
    named += [f"{rest} more"] if rest else []
    return " and ".join(filter(None, (", ".join(named[:-1]), named[-1]))) + (" is" if len(labels) == 1 else " are")
