"""The prepared form of a suite: token ids, texts, pages and judgements as memory-mapped arrays in one folder.

``corpora/NAME/`` holds a corpus, ``tasks/NAME/{train,dev}/`` queries, ``prepared.json`` (written last) the
description and every file's size and sha256. ``mtbench.data.preparing`` writes it, ``mtbench.data.layout`` names its
files.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mtbench.data import layout
from mtbench.data.copies import Copies
from mtbench.data.negatives import NotNegative, own_rows
from mtbench.data.query_files import PreparedQueries
from mtbench.data.tables import DecimalIds, StringTable
from mtbench.errors import StoreError
from mtbench.storage.atomic import read_json


class PreparedCorpus:
    """N passages as flat memory-mapped arrays; reading one takes microseconds."""

    def __init__(self, folder: Path) -> None:
        description: layout.CorpusDescription = read_json(folder / layout.CORPUS_FILE)
        self.name = description["name"]
        self.folder = folder
        self.notes = description["notes"]
        self.num_pages = description["pages"]
        self.token_ids = layout.TOKENS.values.map(folder, description["dtype"])
        """All token ids one after the other, uint16 or uint32."""
        self.offsets = layout.TOKENS.offsets.map(folder)
        """uint64[N + 1]: passage i is ``token_ids[offsets[i]:offsets[i + 1]]``."""
        self.lengths = layout.LENGTHS.map(folder)
        self.pages = layout.PAGES.map(folder)
        self.id_rank = layout.ID_RANK.map(folder)
        """int32[N]: place of row i when ids are sorted ascending as strings; equal scores go by it descending."""
        self.group_names = description["groups"]
        self.groups = layout.GROUPS.map(folder) if self.group_names is not None else None
        """int32[N], number of the part a passage belongs to; None if the corpus has no parts."""
        self.copies = Copies.open(folder)
        """Rows with equal tokens; None unless the suite's rules ask for them."""
        self.page_names = layout.PAGE_NAMES.open(folder)
        self._texts = layout.TEXTS.open(folder)
        self._ids: DecimalIds | StringTable
        if description["ids"] == "decimal":
            self._ids = DecimalIds(description["passages"])
        else:
            self._ids = layout.IDS.open(folder, layout.ID_ORDER.map(folder))

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
    ignore_identical_ids: bool = False
    """A passage with the query's own id is neither ranked nor a negative."""
    own_ids: bool = False
    """Training queries stand in the corpus under their own id: none is its own negative."""

    def not_negative(self, corpus: PreparedCorpus) -> NotNegative:
        """Which rows of the train queries' corpus are no negatives of each."""
        spared = self.ignore_identical_ids or self.own_ids
        return NotNegative(self.train, corpus, own_rows(self.train.ids, corpus.index_of) if spared else None)

    def unranked(self, queries: PreparedQueries, corpus: PreparedCorpus) -> np.ndarray | None:
        """The row that each query must not be answered with, int32[Q], -1 for none; None if no query has one."""
        return own_rows(queries.ids, corpus.index_of) if self.ignore_identical_ids else None


class PreparedSuite:
    """A prepared suite, opened."""

    def __init__(self, folder: Path) -> None:
        description: layout.SuiteDescription = read_json(folder / layout.SUITE_FILE)
        for name, file in description["files"].items():
            path = folder / name
            if not path.is_file() or path.stat().st_size != file["size"]:
                raise StoreError(
                    f"{path}: missing or not {file['size']} bytes long\n  Remove {folder} and prepare again."
                )
        self.folder = folder
        self.name = description["suite"]
        self.version = description["version"]
        self.metric = description["metric"]
        self.notes = description["notes"]
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
