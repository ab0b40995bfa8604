"""A registered suite as it is declared, where its data are not here: for plans and costs before any download."""

from __future__ import annotations

from pathlib import Path

from mtbench.data.loading import data_profile, suite_folder
from mtbench.data.rules import SuiteFacts
from mtbench.registry import get_suite
from mtbench.suite import Suite

NOT_HERE = "declared, not read"
"""Stands for the hash of data that nobody has read."""


def declared_suite(name_or_path: str, profile: str) -> tuple[Suite, SuiteFacts] | None:
    """The suite and what the papers count in it; None for a folder, and for a suite that publishes no counts for the
    data of this profile."""
    if suite_folder(name_or_path) is not None:
        return None
    definition = get_suite(name_or_path)
    kind = data_profile(profile, definition)
    if kind == "mini" or not definition.published_counts:
        return None
    suite = definition().suite(Path(NOT_HERE), kind)
    trainable = {name: train for name, (train, _) in definition.published_counts.items()}
    return suite, SuiteFacts(
        passages={},
        trainable=trainable,
        most_passages={},
        most_pages={},
        own_ids={},
        zero_judged={},
        copies=[],
        words=[],
    )


def to_fetch(name: str) -> str:
    """What there is to download for a registered suite, in a sentence."""
    sizes = [d.size for d in get_suite(name).downloads if not d.optional]
    known = [size for size in sizes if size is not None]
    rest = f"; the sizes of {len(sizes) - len(known)} are told by `mtbench prepare {name} --profile paper --dry-run`"
    return f"{len(sizes)} files, {sum(known) / 1e9:.1f} GB of known size{rest if len(known) < len(sizes) else ''}"
