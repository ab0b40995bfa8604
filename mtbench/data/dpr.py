"""DPR-style training files (Karpukhin et al., EMNLP 2020; MT-DPR's ``*-multikilt.json``), one element at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtbench.data.fields import string
from mtbench.data.json_array import iter_json_array
from mtbench.errors import DataError

_ID_KEYS = ("psg_id", "passage_id")


@dataclass(slots=True)
class Row:
    """One question with the ids of its relevant passages; ``number`` counts the file's elements from 0."""

    number: int
    line: int
    question: str
    positives: list[str]


def iter_dpr(path: Path) -> Iterator[Row]:
    """Rows of a DPR file (a JSON array); contexts need ``psg_id`` or ``passage_id``, a number or a string."""
    for number, (line, record) in enumerate(iter_json_array(path)):
        if not isinstance(record, dict):
            raise DataError(f"element {number} is not an object", path=path, line=line)
        question = string(record, "question", path, line)
        contexts = record.get("positive_ctxs") or []
        if not isinstance(contexts, list):
            raise DataError(f"'positive_ctxs' of element {number} must be a list", path=path, line=line)
        yield Row(number, line, question, list(dict.fromkeys(_passage_id(c, number, path, line) for c in contexts)))


def _passage_id(context: Any, number: int, path: Path, line: int) -> str:
    for key in _ID_KEYS:
        value = context.get(key) if isinstance(context, dict) else None
        if isinstance(value, (int, str)) and not isinstance(value, bool) and value != "":
            return str(value)
    raise DataError(
        f"a positive context of element {number} has no {' or '.join(_ID_KEYS)}",
        path=path,
        line=line,
        remedy="mtbench needs passage ids, not only titles and texts: use the MT-DPR files of psgs_w100.",
    )
