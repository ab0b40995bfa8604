"""How a record looks on disk: JSON with a line for each top-level key.

A changed number is then a changed line, and a reader that needs only the summary can leave the long learning curves
unparsed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from mtbench.records.record import RunRecord, RunSummary


def _keys(kind: Any) -> frozenset[str]:
    """All keys of a TypedDict."""
    return frozenset(kind.__required_keys__ | kind.__optional_keys__)


HEAVY = tuple(sorted(_keys(RunRecord) - _keys(RunSummary)))
"""Keys that a summary leaves out: nothing in a leaderboard comes from them."""

_HEAVY_STARTS = tuple(f'{key}":'.encode() for key in HEAVY)
_DECODER = json.JSONDecoder(parse_constant=lambda _: None)
"""NaN and infinity, which JSON lacks and other programs write, are no numbers."""


def parse(raw: bytes, *, summary: bool = False) -> Any:
    """The JSON value; of a file in our own layout ``summary`` neither decodes nor parses the heavy lines.

    ValueError or RecursionError for what is no JSON.
    """
    if summary and raw.startswith(b'{\n"') and raw.endswith(b"\n}\n"):
        light = [block for block in raw[3:-3].split(b',\n"') if not block.startswith(_HEAVY_STARTS)]
        raw = b'{"' + b',"'.join(light) + b"}"
    return _DECODER.decode(raw.decode())


def layout(record: Mapping[str, object]) -> str:
    """JSON with one top-level key per line; objects below are broken once more where that helps reading."""
    return "{\n" + ",\n".join(_block(key, value) for key, value in record.items()) + "\n}\n"


def _block(key: str, value: object) -> str:
    flat = _flat(value)
    if isinstance(value, dict) and value and len(flat) > 100:
        flat = "{\n" + ",\n".join(f"  {json.dumps(k)}: {_flat(v)}" for k, v in value.items()) + "\n }"
    return f"{json.dumps(key)}: {flat}"


def _flat(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def plain(value: Any) -> Any:
    """``value`` in JSON's own types: arrays become lists, paths strings, non-finite numbers null."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return str(value)
