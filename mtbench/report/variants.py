"""Which rows of a board may be compared, and how rows of other configurations are called.

Optimizers are compared where everything but method and seed is equal. A baseline depends on less: BM25 on its own
settings and the data, an untrained encoder on the encoder and the data. It stands beside the optimizers that agree with
it in that, and beside no others: an untrained row of one encoder is no gain over another encoder's trained one.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from mtbench.config import late_defaults
from mtbench.records.record import RunSpec
from mtbench.report.settings import Flat, show_value, variant_of

DEPENDS_ON = {
    "bm25": ("bm25.", "suite_fingerprint", "rules", "reader."),
    "untrained": ("encoder.", "data.", "search.", "suite_fingerprint", "rules"),
    "closed-book": ("reader.", "suite_fingerprint", "rules"),
    "gold": ("reader.", "suite_fingerprint", "rules"),
}
"""What a baseline's figures depend on, by the beginnings of dotted keys."""
SAME_FIGURES = ("data.selection_queries", "search.shard_size", "search.encode_tokens", "encoder.dropout",
                "encoder.gradient_checkpointing")  # fmt: skip
"""Settings that change no figure of a baseline."""
NAMED = 3
"""Settings that a name has at most, beside those without which two rows would have one name."""


def is_partial(spec: RunSpec) -> bool:
    """Whether the figures depend on a part of the configuration alone, as a baseline's do."""
    return spec["optimizer"]["name"] in DEPENDS_ON


def decisive(spec: RunSpec) -> Flat:
    """The part of ``spec`` that two runs must share to be compared: all but method and seed, for a baseline less."""
    flat = whole(spec)
    if not is_partial(spec):
        return flat
    beginnings = DEPENDS_ON[spec["optimizer"]["name"]]
    return {k: v for k, v in flat.items() if k.startswith(beginnings) and k not in SAME_FIGURES}


def whole(spec: RunSpec) -> Flat:
    """All but method and seed by dotted keys, the encoder's identity as ``encoder.name``, ``encoder.sha256``."""
    return {**variant_of(spec), **{f"encoder.{k}": v for k, v in spec.get("encoder", {}).items()}}


def fits(baseline: RunSpec, other: RunSpec) -> bool:
    """Whether a baseline may stand beside a run of ``other``'s configuration."""
    flat = whole(other)
    return all(flat.get(k) == v for k, v in decisive(baseline).items())


def name_variants(specs: Mapping[str, RunSpec], main: RunSpec) -> dict[str, str]:
    """Names for configurations other than ``main``'s, by key: the encoder where it is another, else settings.

    No two are alike: two that would be also name what tells them apart.
    """
    usual, flats = whole(main), {key: decisive(spec) for key, spec in specs.items()}
    chosen = {key: _first_differences(flats[key], usual, is_partial(spec)) for key, spec in specs.items()}
    for key, other in itertools.combinations(specs, 2):
        if _kind(specs[key]) == _kind(specs[other]) and _told(flats[key], chosen[key]) == _told(
            flats[other], chosen[other]
        ):
            shared = {*flats[key], *flats[other]} - {*chosen[key]}
            telling = [k for k in sorted(shared) if flats[key].get(k) != flats[other].get(k)][:1]
            chosen[key], chosen[other] = [*chosen[key], *telling], [*chosen[other], *telling]
    return {key: _told(flats[key], chosen[key]) for key in specs}


def _kind(spec: RunSpec) -> str:
    """Rows of two kinds have different labels anyway."""
    return spec["optimizer"]["name"] if is_partial(spec) else ""


def _first_differences(flat: Flat, usual: Flat, partial: bool) -> list[str]:
    keys = sorted(k for k in ({*flat} if partial else {*flat, *usual}) if flat.get(k) != usual.get(k))
    if "encoder.name" in keys:
        return ["encoder.name"]  # lengths, rates and the like follow from it
    return [k for k in keys if k not in ("encoder.path",)][:NAMED]


def _told(flat: Flat, keys: list[str]) -> str:
    absent = late_defaults()
    shown = {key: show_value(flat.get(key, absent.get(key, "unset"))) for key in keys}
    return ", ".join(f"encoder {flat[key]}" if key == "encoder.name" else f"{key}={v}" for key, v in shown.items())
