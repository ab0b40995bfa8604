"""The files of a prepared corpus while they grow: shards are appended in order, and a killed build goes on.

``state.json`` says how long every file was after the last whole shard; what lies beyond is cut off on resuming.
"""

from __future__ import annotations

import heapq
import os
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TypedDict

import numpy as np

from mtbench.data import layout
from mtbench.data.corpus_shards import lengths_of, shard_folder
from mtbench.data.tables import decimal_ranks
from mtbench.storage.atomic import read_json, write_json

PARTS = "parts"
"""Folder of what only the building needs: each shard's pages and order of ids, which are merged in the end."""
_COPIED = [
    *(c.name for c in (layout.TOKENS.values, layout.LENGTHS, layout.TEXTS.values, layout.IDS.values, layout.GROUPS)),
    *(f"{PARTS}/{c.name}" for c in (layout.PAGE_NAMES.values, layout.PAGES, layout.ID_ORDER)),
]
_OFFSETS = {
    layout.TOKENS.offsets.name: layout.LENGTHS,
    layout.TEXTS.offsets.name: lengths_of(layout.TEXTS),
    layout.IDS.offsets.name: lengths_of(layout.IDS),
    f"{PARTS}/{layout.PAGE_NAMES.offsets.name}": lengths_of(layout.PAGE_NAMES),
}
"""Files of offsets, and the column of a shard that they are summed from."""
_CHUNK = 1 << 20


class _State(TypedDict):
    """Passages and pages of each shard in the files, and the files' sizes."""

    passages: list[int]
    pages: list[int]
    sizes: dict[str, int]


class DuplicateIdError(Exception):
    """Two passages have one id; ``rows`` are their row numbers."""

    def __init__(self, name: str, rows: tuple[int, int]) -> None:
        self.name, self.rows = name, rows
        super().__init__(f"{name!r} in rows {rows}")


class CorpusFiles:
    """Columns of one corpus in ``folder``; ``parts`` holds what only the building needs."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.parts = folder, folder / PARTS
        self.parts.mkdir(parents=True, exist_ok=True)
        for leftover in self.parts.glob(".shard-*"):
            shutil.rmtree(leftover)
        self.state: _State = {"passages": [], "pages": [], "sizes": {}}
        if (self.parts / "state.json").is_file():
            self.state = read_json(self.parts / "state.json")
        self._cut()

    @property
    def shards(self) -> int:
        """Number of shards that are in the files."""
        return len(self.state["passages"])

    @property
    def passages(self) -> int:
        """Number of passages that are in the files."""
        return sum(self.state["passages"])

    def _names(self) -> list[str]:
        return [*_COPIED, *_OFFSETS]

    def _cut(self) -> None:
        sizes = self.state["sizes"]
        lost = any(not (self.folder / n).is_file() or (self.folder / n).stat().st_size < s for n, s in sizes.items())
        if lost:  # a crash of the machine can lose what a finished write had promised
            self.state = {"passages": [], "pages": [], "sizes": {}}
            sizes = {}
        for name in self._names():
            size = sizes.get(name, 0)
            with open(self.folder / name, "ab") as stream:
                stream.truncate(size)
                if size == 0 and name in _OFFSETS:
                    stream.write(np.zeros(1, np.uint64).tobytes())

    def append(self, number: int) -> None:
        """Take the finished shard ``number`` into the files and forget its folder."""
        shard = shard_folder(self.parts, number)
        for name in _COPIED:
            with open(self.folder / name, "ab") as target, open(shard / Path(name).name, "rb") as source:
                shutil.copyfileobj(source, target, _CHUNK)
                target.flush()
                os.fsync(target.fileno())
        for name, column in _OFFSETS.items():
            lengths = column.map(shard)
            with open(self.folder / name, "r+b") as stream:
                stream.seek(-8, os.SEEK_END)
                last = np.frombuffer(stream.read(8), np.uint64)[0]
                stream.write((np.cumsum(lengths, dtype=np.uint64) + last).tobytes())
                stream.flush()
                os.fsync(stream.fileno())
        self.state["passages"].append(len(layout.LENGTHS.map(shard)))
        self.state["pages"].append(len(lengths_of(layout.PAGE_NAMES).map(shard)))
        self.state["sizes"] = {name: (self.folder / name).stat().st_size for name in self._names()}
        write_json(self.parts / "state.json", self.state)
        shutil.rmtree(shard)

    def finish(self, *, decimal: bool) -> int:
        """Rank ids and number pages; returns the number of pages. The parts stay until :func:`drop_parts`."""
        pages = self._merge_pages()
        if decimal:
            with open(self.folder / layout.ID_RANK.name, "wb") as stream:
                for start in range(0, self.passages, _CHUNK):
                    stop = min(start + _CHUNK, self.passages)
                    stream.write(decimal_ranks(start, stop, self.passages).tobytes())
        else:
            self._merge_ids()
        return pages

    def _merge_ids(self) -> None:
        """Row order by id and its inverse, from the sorted runs of the shards."""
        ids = layout.IDS.open(self.folder)
        local = layout.ID_ORDER.map(self.parts)

        def run(start: int, stop: int) -> Iterator[tuple[bytes, int]]:
            return ((ids.raw(start + int(row)), start + int(row)) for row in local[start:stop])

        rank = np.memmap(self.folder / layout.ID_RANK.name, np.int32, "w+", shape=(self.passages,))
        order = np.memmap(self.folder / layout.ID_ORDER.name, np.int32, "w+", shape=(self.passages,))
        previous: tuple[bytes, int] = (b"", -1)
        for position, item in enumerate(heapq.merge(*(run(a, b) for a, b in _bounds(self.state["passages"])))):
            if item[0] == previous[0] and previous[1] >= 0:
                raise DuplicateIdError(item[0].decode("utf-8"), (previous[1], item[1]))
            rank[item[1]], order[position] = position, item[1]
            previous = item
        rank.flush()
        order.flush()

    def _merge_pages(self) -> int:
        """Pages numbered in the order of their names, from the sorted runs of the shards."""
        names = layout.PAGE_NAMES.open(self.parts)
        number_of = np.empty(len(names), np.int32)

        def run(start: int, stop: int) -> Iterator[tuple[bytes, int]]:
            return ((names.raw(index), index) for index in range(start, stop))

        number, previous, position = -1, None, 0
        with (
            open(self.folder / layout.PAGE_NAMES.values.name, "wb") as blob,
            open(self.folder / layout.PAGE_NAMES.offsets.name, "wb") as ends,
        ):
            ends.write(np.zeros(1, np.uint64).tobytes())
            for name, index in heapq.merge(*(run(a, b) for a, b in _bounds(self.state["pages"]))):
                if name != previous:
                    number, previous, position = number + 1, name, position + len(name)
                    blob.write(name)
                    ends.write(np.uint64(position).tobytes())
                number_of[index] = number
        local = layout.PAGES.map(self.parts)
        starts = _bounds(self.state["pages"])
        with open(self.folder / layout.PAGES.name, "wb") as stream:
            for (a, b), (first, _) in zip(_bounds(self.state["passages"]), starts, strict=True):
                stream.write(number_of[first + local[a:b].astype(np.int64)].tobytes())
        return number + 1


def drop_parts(folder: Path, *, decimal: bool, grouped: bool) -> None:
    """Remove what only the building needed; safe to repeat."""
    for column in (layout.IDS.values, layout.IDS.offsets) * decimal + (layout.GROUPS,) * (not grouped):
        (folder / column.name).unlink(missing_ok=True)
    if (folder / PARTS).is_dir():
        shutil.rmtree(folder / PARTS)


def _bounds(counts: list[int]) -> list[tuple[int, int]]:
    ends = np.cumsum([0, *counts]).tolist()
    return list(pairwise(ends))
