"""Queries of one split in their prepared form: written once, then read as arrays."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from mtbench.data.tables import StringTable, map_array, write_strings
from mtbench.data.tokenizing import TokenEncoder, query_texts
from mtbench.data.types import QuerySplit

UNKNOWN_PAGE = -2
"""Number of the first gold page that the corpus does not have; the next is one less."""


def write_texts(folder: Path, split: QuerySplit, encoder: TokenEncoder, prefix: str, sep: str, max_length: int) -> None:
    """Ids, texts and token ids; the prompt's tokens come on top of ``max_length``."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_strings(folder / "ids", folder / "id_offsets", split.ids)
    write_strings(folder / "texts", folder / "text_offsets", split.texts)
    length = max_length + (encoder.count(prefix.strip()) if prefix else 0)
    tokens = encoder.encode(query_texts(split.texts, prefix, sep), length)
    np.fromiter((i for row in tokens for i in row), encoder.dtype).tofile(folder / "tokens")
    _write_offsets(folder / "offsets", [len(row) for row in tokens])


def write_judgements(
    folder: Path,
    split: QuerySplit,
    row_of: Callable[[str], int],
    page_of: Callable[[str], int],
    group_number: Mapping[str, int],
    page_rows: Callable[[set[int]], dict[int, np.ndarray]] | None,
) -> None:
    """Positives as corpus rows, gold pages as page numbers, groups as numbers.

    ``row_of`` raises for an unknown passage. ``page_rows`` (page of which row, all rows of such pages) extends every
    query's positives to the whole pages they lie on; listed passages stay first.
    """
    rows = [[row_of(passage) for passage in positives] for positives in split.positives]
    grades = [list(positives.values()) for positives in split.positives]
    if page_rows is not None:
        others = page_rows({row for found in rows for row in found})
        for found, grade in zip(rows, grades, strict=True):
            listed = set(found)
            same = [int(r) for row in tuple(found) for r in others[row] if int(r) not in listed]
            found.extend(dict.fromkeys(same))
            grade.extend([min(grade, default=1)] * (len(found) - len(grade)))
    np.asarray([r for found in rows for r in found], np.int32).tofile(folder / "positives")
    np.asarray([g for grade in grades for g in grade], np.int32).tofile(folder / "relevance")
    _write_offsets(folder / "positive_offsets", [len(found) for found in rows])
    if split.gold_pages is not None:
        _write_pages(folder, split.gold_pages, page_of)
    if split.groups is not None:
        np.asarray([group_number[name] for name in split.groups], np.int32).tofile(folder / "groups")


def _write_pages(folder: Path, gold: Sequence[Sequence[Sequence[str]]], page_of: Callable[[str], int]) -> None:
    unknown: dict[str, int] = {}

    def number(name: str) -> int:
        found = page_of(name)
        return found if found >= 0 else unknown.setdefault(name, UNKNOWN_PAGE - len(unknown))

    sets = [pages for query in gold for pages in query]
    np.asarray([number(page) for pages in sets for page in pages], np.int32).tofile(folder / "gold_pages")
    _write_offsets(folder / "gold_offsets", [len(pages) for pages in sets])
    _write_offsets(folder / "gold_set_offsets", [len(query) for query in gold])


def _write_offsets(path: Path, lengths: Sequence[int]) -> None:
    np.concatenate([np.zeros(1, np.uint64), np.cumsum(lengths, dtype=np.uint64)]).tofile(path)


class PreparedQueries:
    """Queries of one split (Q of them) with token ids and judgements."""

    def __init__(self, folder: Path, dtype: str) -> None:
        self.folder = folder
        self.ids: list[str] = list(StringTable(folder / "ids", folder / "id_offsets"))
        self._texts = StringTable(folder / "texts", folder / "text_offsets")
        self._tokens = map_array(folder / "tokens", dtype)
        self._offsets = self._read_offsets("offsets")
        self._positives = map_array(folder / "positives", np.int32)
        self._relevance = map_array(folder / "relevance", np.int32)
        self._positive_offsets = self._read_offsets("positive_offsets")
        self._has_pages = (folder / "gold_pages").is_file()
        if self._has_pages:
            self._pages = map_array(folder / "gold_pages", np.int32)
            self._page_offsets = self._read_offsets("gold_offsets")
            self._set_offsets = self._read_offsets("gold_set_offsets")
        self.groups = map_array(folder / "groups", np.int32) if (folder / "groups").is_file() else None
        """int32[Q], the part of the corpus each query searches; None if all of it."""

    def _read_offsets(self, name: str) -> list[int]:
        offsets: list[int] = np.fromfile(self.folder / name, np.uint64).tolist()
        return offsets

    def __len__(self) -> int:
        return len(self.ids)

    def text(self, i: int) -> str:
        """The query as the raw file has it (no prompt)."""
        return self._texts[i]

    def tokens(self, i: int) -> np.ndarray:
        """Final token ids, prompt and special tokens included; a view."""
        return self._tokens[self._offsets[i] : self._offsets[i + 1]]

    def positives(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Relevant corpus rows and their relevance, int32 each; listed order."""
        place = slice(self._positive_offsets[i], self._positive_offsets[i + 1])
        return self._positives[place], self._relevance[place]

    def gold_pages(self, i: int) -> list[np.ndarray] | None:
        """Evidence sets as page numbers, int32; negative numbers are pages the corpus lacks. None without KILT data."""
        if not self._has_pages:
            return None
        sets = range(self._set_offsets[i], self._set_offsets[i + 1])
        return [self._pages[self._page_offsets[s] : self._page_offsets[s + 1]] for s in sets]
