"""Queries of one split in their prepared form: written once, then read as arrays."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from mtbench.data import layout
from mtbench.data.page_rows import PageRows
from mtbench.data.tokenizing import TokenEncoder, query_texts
from mtbench.data.types import QuerySplit

UNKNOWN_PAGE = -2
"""Number of the first gold page that the corpus does not have; the next is one less."""


def write_texts(folder: Path, split: QuerySplit, encoder: TokenEncoder, prefix: str, sep: str, max_length: int) -> None:
    """Ids, texts and token ids; the prompt's tokens come on top of ``max_length``."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    layout.IDS.write(folder, split.ids)
    layout.TEXTS.write(folder, split.texts)
    length = max_length + (encoder.count(prefix.strip()) if prefix else 0)
    tokens = encoder.encode(query_texts(split.texts, prefix, sep), length)
    layout.TOKENS.write(folder, tokens, encoder.dtype)


def write_judgements(
    folder: Path,
    split: QuerySplit,
    row_of: Callable[[str], int],
    page_of: Callable[[str], int],
    group_number: Mapping[str, int],
    page_rows: PageRows | None,
) -> None:
    """Positives as corpus rows, gold pages as page numbers, groups as numbers.

    ``row_of`` raises for an unknown passage. ``page_rows`` extends every query's positives to the whole pages they
    lie on; listed passages stay first.
    """
    rows = [[row_of(passage) for passage in positives] for positives in split.positives]
    grades = [list(positives.values()) for positives in split.positives]
    if page_rows is not None:
        for found, grade in zip(rows, grades, strict=True):
            listed = set(found)
            same = [int(r) for row in tuple(found) for r in page_rows.beside(row) if int(r) not in listed]
            found.extend(dict.fromkeys(same))
            grade.extend([min(grade, default=1)] * (len(found) - len(grade)))
    layout.POSITIVES.write(folder, rows)
    layout.RELEVANCE.write(folder, [g for grade in grades for g in grade])
    if split.gold_pages is not None:
        _write_pages(folder, split.gold_pages, page_of)
    if split.judged is not None:
        layout.JUDGED.write(folder, split.judged)
    if split.groups is not None:
        layout.GROUPS.write(folder, [group_number[name] for name in split.groups])


def _write_pages(folder: Path, gold: Sequence[Sequence[Sequence[str]]], page_of: Callable[[str], int]) -> None:
    unknown: dict[str, int] = {}

    def number(name: str) -> int:
        found = page_of(name)
        return found if found >= 0 else unknown.setdefault(name, UNKNOWN_PAGE - len(unknown))

    layout.GOLD_PAGES.write(folder, [[number(page) for page in pages] for query in gold for pages in query])
    layout.write_ends(layout.GOLD_SETS, folder, [len(query) for query in gold])


class PreparedQueries:
    """Queries of one split (Q of them) with token ids and judgements."""

    def __init__(self, folder: Path, dtype: str) -> None:
        self.folder = folder
        self.ids: list[str] = list(layout.IDS.open(folder))
        self._texts = layout.TEXTS.open(folder)
        self._tokens = layout.TOKENS.values.map(folder, dtype)
        self._offsets = _ends(layout.TOKENS, folder)
        self._positives = layout.POSITIVES.values.map(folder)
        self._relevance = layout.RELEVANCE.map(folder)
        self._positive_offsets = _ends(layout.POSITIVES, folder)
        self._has_pages = layout.GOLD_PAGES.values.exists(folder)
        if self._has_pages:
            self._pages = layout.GOLD_PAGES.values.map(folder)
            self._page_offsets = _ends(layout.GOLD_PAGES, folder)
            self._set_offsets: list[int] = layout.GOLD_SETS.map(folder).tolist()
        self._judged = layout.JUDGED.map(folder) if layout.JUDGED.exists(folder) else None
        self.groups = layout.GROUPS.map(folder) if layout.GROUPS.exists(folder) else None
        """int32[Q], the part of the corpus each query searches; None if all of it."""

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

    def is_judged(self, i: int) -> bool:
        """Whether query i has judgements of passages; it may have no relevant one and then scores 0."""
        if self._judged is not None:
            return bool(self._judged[i])
        return self._positive_offsets[i + 1] > self._positive_offsets[i]

    def gold_pages(self, i: int) -> list[np.ndarray] | None:
        """Evidence sets as page numbers, int32; negative numbers are pages the corpus lacks. None without KILT data."""
        if not self._has_pages:
            return None
        sets = range(self._set_offsets[i], self._set_offsets[i + 1])
        return [self._pages[self._page_offsets[s] : self._page_offsets[s + 1]] for s in sets]


def _ends(items: layout.Items, folder: Path) -> list[int]:
    """A split's offsets as plain integers, which index faster than an array's."""
    offsets: list[int] = items.offsets.map(folder).tolist()
    return offsets
