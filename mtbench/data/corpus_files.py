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
from typing import Any

import numpy as np

from mtbench.data.corpus_shards import shard_folder
from mtbench.data.tables import StringTable, decimal_ranks, map_array
from mtbench.storage.atomic import read_json, write_json

_COPIED = ("tokens", "lengths", "texts", "ids", "groups", "parts/page_names", "parts/pages", "parts/id_order")
_OFFSETS = {"offsets": "lengths", "text_offsets": "texts_lengths", "id_offsets": "ids_lengths"}
_OFFSETS_PARTS = {"parts/page_name_offsets": "page_names_lengths"}
_CHUNK = 1 << 20


class DuplicateIdError(Exception):
    """Two passages have one id; ``rows`` are their row numbers."""

    def __init__(self, name: str, rows: tuple[int, int]) -> None:
        self.name, self.rows = name, rows
        super().__init__(f"{name!r} in rows {rows}")


class CorpusFiles:
    """Columns of one corpus in ``folder``; ``parts`` holds what only the building needs."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.parts = folder, folder / "parts"
        self.parts.mkdir(parents=True, exist_ok=True)
        for leftover in self.parts.glob(".shard-*"):
            shutil.rmtree(leftover)
        self.state: dict[str, Any] = {"passages": [], "pages": [], "sizes": {}}
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
        return [*_COPIED, *_OFFSETS, *_OFFSETS_PARTS]

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
                if size == 0 and name in (*_OFFSETS, *_OFFSETS_PARTS):
                    stream.write(np.zeros(1, np.uint64).tobytes())

    def append(self, number: int) -> None:
        """Take the finished shard ``number`` into the files and forget its folder."""
        shard = shard_folder(self.parts, number)
        for name in _COPIED:
            with open(self.folder / name, "ab") as target, open(shard / Path(name).name, "rb") as source:
                shutil.copyfileobj(source, target, _CHUNK)
                target.flush()
                os.fsync(target.fileno())
        for name, lengths_name in {**_OFFSETS, **_OFFSETS_PARTS}.items():
            dtype = np.int32 if lengths_name == "lengths" else np.uint32
            lengths = np.fromfile(shard / lengths_name, dtype).astype(np.uint64)
            with open(self.folder / name, "r+b") as stream:
                stream.seek(-8, os.SEEK_END)
                last = np.frombuffer(stream.read(8), np.uint64)[0]
                stream.write((np.cumsum(lengths, dtype=np.uint64) + last).tobytes())
                stream.flush()
                os.fsync(stream.fileno())
        self.state["passages"].append((shard / "lengths").stat().st_size // 4)
        self.state["pages"].append((shard / "page_names_lengths").stat().st_size // 4)
        self.state["sizes"] = {name: (self.folder / name).stat().st_size for name in self._names()}
        write_json(self.parts / "state.json", self.state)
        shutil.rmtree(shard)

    def finish(self, *, decimal: bool) -> int:
        """Rank ids and number pages; returns the number of pages. The parts stay until :func:`drop_parts`."""
        pages = self._merge_pages()
        if decimal:
            with open(self.folder / "id_rank", "wb") as stream:
                for start in range(0, self.passages, _CHUNK):
                    stop = min(start + _CHUNK, self.passages)
                    stream.write(decimal_ranks(start, stop, self.passages).tobytes())
        else:
            self._merge_ids()
        return pages

    def _merge_ids(self) -> None:
        """Row order by id and its inverse, from the sorted runs of the shards."""
        ids = StringTable(self.folder / "ids", self.folder / "id_offsets")
        local = map_array(self.parts / "id_order", np.int32)

        def run(start: int, stop: int) -> Iterator[tuple[bytes, int]]:
            return ((ids.raw(start + int(row)), start + int(row)) for row in local[start:stop])

        rank = np.memmap(self.folder / "id_rank", np.int32, "w+", shape=(self.passages,))
        order = np.memmap(self.folder / "id_order", np.int32, "w+", shape=(self.passages,))
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
        names = StringTable(self.parts / "page_names", self.parts / "page_name_offsets")
        number_of = np.empty(len(names), np.int32)

        def run(start: int, stop: int) -> Iterator[tuple[bytes, int]]:
            return ((names.raw(index), index) for index in range(start, stop))

        number, previous, position = -1, None, 0
        with (
            open(self.folder / "page_names", "wb") as blob,
            open(self.folder / "page_name_offsets", "wb") as ends,
        ):
            ends.write(np.zeros(1, np.uint64).tobytes())
            for name, index in heapq.merge(*(run(a, b) for a, b in _bounds(self.state["pages"]))):
                if name != previous:
                    number, previous, position = number + 1, name, position + len(name)
                    blob.write(name)
                    ends.write(np.uint64(position).tobytes())
                number_of[index] = number
        local = map_array(self.parts / "pages", np.int32)
        starts = _bounds(self.state["pages"])
        with open(self.folder / "pages", "wb") as stream:
            for (a, b), (first, _) in zip(_bounds(self.state["passages"]), starts, strict=True):
                stream.write(number_of[first + local[a:b].astype(np.int64)].tobytes())
        return number + 1


def drop_parts(folder: Path, *, decimal: bool, grouped: bool) -> None:
    """Remove what only the building needed; safe to repeat."""
    for name in ("ids", "id_offsets") * decimal + ("groups",) * (not grouped):
        (folder / name).unlink(missing_ok=True)
    if (folder / "parts").is_dir():
        shutil.rmtree(folder / "parts")


def _bounds(counts: list[int]) -> list[tuple[int, int]]:
    ends = np.cumsum([0, *counts]).tolist()
    return list(pairwise(ends))
