"""KILT's retrieval figures written out from its rules, with none of mtbench's code: slow, and as plain as can be."""

from __future__ import annotations

from typing import Any


def names(output: dict[str, Any], keys: list[str]) -> list[str]:
    """What a provenance list points to, as text; an item that lacks a key points to nothing."""
    found = []
    for item in output.get("provenance", []):
        if all(key in item for key in keys):
            found.append("+".join(str(item[key]).strip() for key in keys))
    return found


def without_repetitions(values: list[Any]) -> list[Any]:
    kept: list[Any] = []
    for value in values:
        if value not in kept:
            kept.append(value)
    return kept


def rprecision(found: list[str], output: dict[str, Any], keys: list[str]) -> float:
    """Of the first R names found, R being the number of names in the output, the share that the output has."""
    wanted = without_repetitions(names(output, keys))
    if not wanted:
        return 0.0
    return sum(name in wanted for name in found[: len(wanted)]) / len(wanted)


def rank_of_set(found: list[str], wanted: list[str]) -> int | None:
    """The place in ``found`` of the last of the wanted names; None if one is not found or there are none."""
    if not wanted or any(name not in found for name in wanted):
        return None
    return max(found.index(name) for name in wanted)


def points(found: list[str], sets: list[list[str]]) -> list[bool]:
    """The ranking with every evidence set as one point, at the place of the last of its names that was found.

    A name of no set is a point of its own. A name that is in several sets is a point for each set whose last found
    name it is, in the order of the sets; a name after which more of all its sets follows is no point.
    """
    ranking = []
    for place, name in enumerate(found):
        at_home = [wanted for wanted in sets if name in wanted]
        if not at_home:
            ranking.append(False)
        for wanted in at_home:
            seen = [found.index(one) for one in wanted if one in found]
            if max(seen) == place:
                ranking.append(rank_of_set(found, wanted) is not None)
    return ranking


def figures(guess: dict[str, Any], gold: dict[str, Any], ks: list[int], keys: list[str]) -> dict[str, float]:
    """Rprec, precision@k, recall@k and success_rate@k of one query, whose guess has one output."""
    found = without_repetitions(names(guess["output"][0], keys))
    scores = {"Rprec": max(rprecision(found, output, keys) for output in gold["output"])}
    sets = without_repetitions(
        [sorted(set(names(output, keys))) for output in gold["output"] if "provenance" in output]
    )
    ranking = points(found, sets) if found else []
    for k in ks:
        whole = sum(ranking[:k])
        scores[f"precision@{k}"] = whole / k
        scores[f"recall@{k}"] = whole / len(sets) if sets and found else 0.0
        scores[f"success_rate@{k}"] = 1.0 if whole else 0.0
    return scores
