"""The prepared form of a suite: token ids, texts, pages and judgements as memory-mapped arrays in one folder.

``corpora/NAME/`` holds a corpus, ``tasks/NAME/{train,dev}/`` queries, ``prepared.json`` (written last) the
description and every file's size and sha256. :func:`build_prepared` writes it, :class:`PreparedSuite` reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mtbench.data.preparing import build_prepared
from mtbench.data.query_files import PreparedQueries
from mtbench.data.tables import DecimalIds, StringTable, map_array
from mtbench.errors import StoreError
from mtbench.storage.atomic import read_json
from mtbench.storage.disk import file_digest

__all__ = [
    "PreparedCorpus",
    "PreparedQueries",
    "PreparedSuite",
    "PreparedTask",
    "build_prepared",
    "verify_prepared",
]


class PreparedCorpus:
    """N passages as flat memory-mapped arrays; reading one takes microseconds."""

    def __init__(self, folder: Path) -> None:
        description: dict[str, Any] = read_json(folder / "corpus.json")
        self.name: str = description["name"]
        self.folder = folder
        self.notes: dict[str, int] = description["notes"]
        self.num_pages: int = description["pages"]
        self.token_ids = map_array(folder / "tokens", description["dtype"])
        """All token ids one after the other, uint16 or uint32."""
        self.offsets = map_array(folder / "offsets", np.uint64)
        """uint64[N + 1]: passage i is ``token_ids[offsets[i]:offsets[i + 1]]``."""
        self.lengths = map_array(folder / "lengths", np.int32)
        self.pages = map_array(folder / "pages", np.int32)
        self.id_rank = map_array(folder / "id_rank", np.int32)
        """int32[N]: place of row i when ids are sorted ascending as strings; equal scores go by it descending."""
        self.group_names: list[str] | None = description["groups"]
        self.groups = map_array(folder / "groups", np.int32) if self.group_names is not None else None
        """int32[N], number of the part a passage belongs to; None if the corpus has no parts."""
        self.page_names: Sequence[str] = StringTable(folder / "page_names", folder / "page_name_offsets")
        self._texts = StringTable(folder / "texts", folder / "text_offsets")
        self._ids: DecimalIds | StringTable
        if description["ids"] == "decimal":
            self._ids = DecimalIds(description["passages"])
        else:
            order = map_array(folder / "id_order", np.int32)
            self._ids = StringTable(folder / "ids", folder / "id_offsets", order)

    def __len__(self) -> int:
        return len(self.lengths)

    def id(self, i: int) -> str:
        """The passage's id in the raw file."""
        return self._ids[i]

    def title(self, i: int) -> str:
        """The passage's title, possibly empty."""
        return self._texts[2 * int(i)]

    def text(self, i: int) -> str:
        """The passage's text without the title."""
        return self._texts[2 * int(i) + 1]

    def tokens(self, i: int) -> np.ndarray:
        """Final token ids of row i, special tokens included; a view into the file."""
        return self.token_ids[int(self.offsets[i]) : int(self.offsets[i + 1])]

    def index_of(self, id: str) -> int:
        """Row of the passage called ``id``; -1 if there is none."""
        return self._ids.find(id)

    def page_of(self, name: str) -> int:
        """Number of the page called ``name``; -1 if no passage lies on it."""
        assert isinstance(self.page_names, StringTable)
        return self.page_names.find(name)


@dataclass
class PreparedTask:
    """One task: queries of both splits and the corpora they search."""

    name: str
    family: str
    corpus: str
    dev_corpus: str
    train: PreparedQueries
    dev: PreparedQueries


class PreparedSuite:
    """A prepared suite, opened."""

    def __init__(self, folder: Path) -> None:
        description: dict[str, Any] = read_json(folder / "prepared.json")
        for name, entry in description["files"].items():
            path = folder / name
            if not path.is_file() or path.stat().st_size != entry["size"]:
                raise StoreError(
                    f"{path}: missing or not {entry['size']} bytes long\n  Remove {folder} and prepare again."
                )
        self.folder = folder
        self.name: str = description["suite"]
        self.version: int = description["version"]
        self.metric: str = description["metric"]
        self.notes: dict[str, dict[str, int]] = description["notes"]
        """Per corpus and task: what the readers met that was no error, counted."""
        self.corpora = {name: PreparedCorpus(folder / "corpora" / name) for name in description["corpora"]}
        self.tasks: dict[str, PreparedTask] = {}
        for entry in description["tasks"]:
            splits = {
                s: PreparedQueries(folder / "tasks" / entry["name"] / s, description["dtype"]) for s in ("train", "dev")
            }
            self.tasks[entry["name"]] = PreparedTask(**entry, train=splits["train"], dev=splits["dev"])

    @classmethod
    def open(cls, folder: Path) -> PreparedSuite:
        """The suite in ``folder``; StoreError if it is not whole (sizes are compared, contents are not)."""
        return cls(Path(folder))


def verify_prepared(folder: Path) -> list[str]:
    """Names of the files whose content is not what was written (sha256); reads everything."""
    files = read_json(folder / "prepared.json")["files"]
    return [
        name
        for name, entry in files.items()
        if not (folder / name).is_file() or file_digest(folder / name) != entry["sha256"]
    ]
