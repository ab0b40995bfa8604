"""The prepared form on disk: names and types of its files, said once for writers and readers.

A column is one flat file. Items of different lengths stand one after the other in one column and the places where
they end in a second, so that item i is ``values[offsets[i]:offsets[i + 1]]``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

import numpy as np

from mtbench.data.tables import StringTable, map_array, write_strings

FORMAT = 1
"""Number of this layout; data of another one are built anew."""
SUITE_FILE = "prepared.json"
CORPUS_FILE = "corpus.json"


class CorpusDescription(TypedDict):
    """Content of ``corpora/NAME/corpus.json``."""

    name: str
    passages: int
    pages: int
    dtype: str
    """Of the token ids."""
    ids: Literal["decimal", "table"]
    groups: list[str] | None
    passage_max_length: int
    notes: dict[str, int]


class TaskDescription(TypedDict):
    """A task in ``prepared.json``."""

    name: str
    family: str
    corpus: str
    dev_corpus: str
    ignore_identical_ids: NotRequired[bool]
    own_ids: NotRequired[bool]


class FileDescription(TypedDict):
    """A file in ``prepared.json``."""

    size: int
    sha256: str


class SuiteDescription(TypedDict):
    """Content of ``prepared.json``."""

    format: int
    suite: str
    version: int
    metric: str
    dtype: str
    corpora: list[str]
    tasks: list[TaskDescription]
    notes: dict[str, dict[str, int]]
    files: dict[str, FileDescription]


@dataclass(frozen=True)
class Column:
    """Numbers of one type. Without a ``dtype`` they are token ids, whose width the tokenizer gives."""

    name: str
    dtype: Any = None

    def map(self, folder: Path, dtype: Any = None) -> np.ndarray:
        """The column in ``folder``, memory-mapped."""
        return map_array(folder / self.name, self.dtype or dtype)

    def write(self, folder: Path, values: Iterable[int], dtype: Any = None) -> None:
        """Write the column to ``folder``."""
        dtype = self.dtype or dtype
        array = values if isinstance(values, np.ndarray) else np.fromiter(values, dtype)
        array.astype(dtype, copy=False).tofile(folder / self.name)

    def exists(self, folder: Path) -> bool:
        """Whether ``folder`` has this column."""
        return (folder / self.name).is_file()


@dataclass(frozen=True)
class Items:
    """Items of different lengths: their values, and N + 1 offsets for N items."""

    values: Column
    offsets: Column

    def write(self, folder: Path, items: Sequence[Sequence[int]], dtype: Any = None) -> None:
        """Write both columns to ``folder``."""
        self.values.write(folder, (value for item in items for value in item), dtype)
        write_ends(self.offsets, folder, [len(item) for item in items])


@dataclass(frozen=True)
class Strings:
    """UTF-8 strings: their bytes, and N + 1 offsets for N strings."""

    values: Column
    offsets: Column

    def open(self, folder: Path, order: np.ndarray | None = None) -> StringTable:
        """The strings in ``folder``, memory-mapped; sorted ones, or with ``order``, can be searched."""
        return StringTable(folder / self.values.name, folder / self.offsets.name, order)

    def write(self, folder: Path, strings: Iterable[str | bytes]) -> None:
        """Write both columns to ``folder``."""
        write_strings(folder / self.values.name, folder / self.offsets.name, strings)


def write_ends(column: Column, folder: Path, lengths: Sequence[int]) -> None:
    """Write the offsets of items of the given lengths."""
    column.write(folder, np.concatenate([np.zeros(1, np.uint64), np.cumsum(lengths, dtype=np.uint64)]))


def _items(name: str, offsets: str, dtype: Any = None) -> Items:
    return Items(Column(name, dtype), Column(offsets, np.uint64))


def _strings(name: str, offsets: str) -> Strings:
    return Strings(Column(name, np.uint8), Column(offsets, np.uint64))


# of corpora (a text is two strings, title and text) and of queries
IDS = _strings("ids", "id_offsets")
TEXTS = _strings("texts", "text_offsets")
TOKENS = _items("tokens", "offsets")
GROUPS = Column("groups", np.int32)

# of corpora
LENGTHS = Column("lengths", np.int32)
PAGES = Column("pages", np.int32)
PAGE_NAMES = _strings("page_names", "page_name_offsets")
ID_ORDER = Column("id_order", np.int32)
ID_RANK = Column("id_rank", np.int32)
COPIES = Column("copies", np.int32)
COPY_STARTS = Column("copy_starts", np.int32)

# of queries
POSITIVES = _items("positives", "positive_offsets", np.int32)
RELEVANCE = Column("relevance", np.int32)
GOLD_PAGES = _items("gold_pages", "gold_offsets", np.int32)
GOLD_SETS = Column("gold_set_offsets", np.uint64)
JUDGED = Column("judged", np.bool_)
