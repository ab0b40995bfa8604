"""KILT's task files (Petroni et al., KILT, NAACL 2021): records, gold pages, and KILT's own query texts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mtbench.data.fields import identifier
from mtbench.data.files import iter_json_lines
from mtbench.errors import DataError


def iter_kilt(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Records of a ``*-kilt.jsonl`` file as ``(line, record)``, ids as strings.

    ``input`` may be missing (TriviaQA) and so may ``output`` (test files); what is there has the right type.
    """
    for line, record in iter_json_lines(path):
        record["id"] = identifier(record, "id", path, line)
        for key, kind in (("input", str), ("output", list), ("meta", dict)):
            if record.get(key) is not None and not isinstance(record[key], kind):
                found = type(record[key]).__name__
                raise DataError(f"{key!r} must be a {kind.__name__}, found {found}", path=path, line=line)
        yield line, record


def provenances(record: dict[str, Any], path: Path, line: int) -> Iterator[list[dict[str, Any]]]:
    """The provenance list of every output of a record (an empty list for an answer without one)."""
    output = record.get("output")
    if not output:
        raise DataError(
            "has no 'output', so no gold pages",
            path=path,
            line=line,
            remedy="A test file without answers cannot be the dev file.",
        )
    for answer in output:
        if not isinstance(answer, dict):
            raise DataError("every element of 'output' must be an object", path=path, line=line)
        items = answer.get("provenance") or []
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise DataError("'provenance' must be a list of objects", path=path, line=line)
        yield items


def gold_page_sets(record: dict[str, Any], path: Path, line: int) -> list[list[str]]:
    """Evidence sets of a record: per output with provenance its page ids, each once, in order.

    As KILT's ``eval_retrieval.py`` extracts them: ids compare as ``str(id).strip()``, so a null id is the page
    ``None``, which no system can return; a provenance without the key is passed over.
    """
    sets = []
    for items in provenances(record, path, line):
        pages = dict.fromkeys(str(item["wikipedia_id"]).strip() for item in items if "wikipedia_id" in item)
        if pages:
            sets.append(list(pages))
    return sets
