"""What stands beside a finished stage's files: what it was made of, what it consists of, and what it found."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from mtbench.storage.atomic import write_json

MANIFEST = "manifest.json"

Results = Mapping[str, Any]
"""What a stage's computation returned, plain JSON values; each stage knows the shape of its own."""


class FileEntry(TypedDict):
    """Size and checksum of one file."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """``files`` are named relative to the stage's folder; ``results`` stand beside the other keys in the file."""

    stage: str
    fingerprint: str
    content: Mapping[str, object]
    """What the fingerprint is the hash of."""
    seconds: float
    files: dict[str, FileEntry]
    results: Results

    def write(self, folder: Path) -> None:
        """Write ``manifest.json``, whole or not at all."""
        write_json(folder / MANIFEST, self.as_json({}))

    def as_json(self, more: Results) -> dict[str, Any]:
        """What stands in the file; ``more`` results beside its own."""
        return {**{name: getattr(self, name) for name in _OWN}, **self.results, **more}

    @classmethod
    def parse(cls, text: str | bytes) -> Manifest:
        """What :meth:`write` wrote; ValueError for anything else."""
        value = json.loads(text)
        if not isinstance(value, dict) or not all(name in value for name in _OWN):
            raise ValueError("not the manifest of a stage")
        own = {name: value.pop(name) for name in _OWN}
        return cls(**own, results=value)


_OWN = tuple(f.name for f in dataclasses.fields(Manifest) if f.name != "results")
