"""Flat files seen as arrays and string tables: memory-mapped, bounded memory whatever their length."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

_CHUNK = 1 << 22


def map_array(path: Path, dtype: Any) -> np.ndarray:
    """The file as a read-only one-dimensional array; a plain ndarray, whose slices cost half a memmap's."""
    if path.stat().st_size == 0:
        return np.empty(0, dtype)
    return np.asarray(np.memmap(path, dtype=dtype, mode="r"))


class StringTable(Sequence[str]):
    """Strings in one file (UTF-8) with 64-bit offsets in another; ``order`` makes :meth:`find` possible."""

    def __init__(self, blob: Path, offsets: Path, order: np.ndarray | None = None) -> None:
        self._blob = memoryview(map_array(blob, np.uint8))  # type: ignore[arg-type]
        self._offsets = map_array(offsets, np.uint64)
        self._order = order

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise IndexError(index)
        return str(self.raw(index), "utf-8")

    def raw(self, index: int) -> bytes:
        """The bytes of one string; byte order is the order of the strings."""
        return self._blob[int(self._offsets[index]) : int(self._offsets[index + 1])].tobytes()

    def find(self, text: str) -> int:
        """Index of ``text`` by bisection (through ``order`` if given, else the table is sorted); -1 if absent."""
        target, order = text.encode("utf-8"), self._order
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if self.raw(middle if order is None else int(order[middle])) < target:
                low = middle + 1
            else:
                high = middle
        if low == len(self):
            return -1
        index = low if order is None else int(order[low])
        return index if self.raw(index) == target else -1


class DecimalIds(Sequence[str]):
    """The ids ``0 .. size - 1`` as strings, without a table (``psgs_w100``)."""

    def __init__(self, size: int) -> None:
        self._size = size

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        value = range(self._size)[index]
        return str(value) if isinstance(value, int) else [str(i) for i in value]

    def find(self, text: str) -> int:
        """Index of the id ``text``; -1 if absent."""
        valid = text.isascii() and text.isdigit() and (text == "0" or text[0] != "0")
        return int(text) if valid and len(text) < 20 and int(text) < self._size else -1


def decimal_ranks(start: int, stop: int, size: int) -> np.ndarray:
    """Ranks of the strings ``start .. stop - 1`` among the decimal strings ``0 .. size - 1``, int32.

    Counted, not sorted: for every number of digits L, how many L-digit numbers below ``size`` precede the string.
    """
    numbers = np.arange(start, stop, dtype=np.int64)
    digits = np.ones_like(numbers)
    for power in range(1, 19):
        digits += numbers >= 10**power
    rank = np.zeros_like(numbers)
    for length in range(1, len(str(max(size - 1, 0))) + 1):
        first = 0 if length == 1 else 10 ** (length - 1)
        shorter = digits > length
        prefix = np.where(
            shorter,
            numbers // 10 ** np.maximum(digits - length, 0) + 1,  # a prefix of a string precedes it
            numbers * 10 ** np.maximum(length - digits, 0),
        )
        rank += np.clip(np.minimum(prefix, min(size, 10**length)) - first, 0, None)
    return rank.astype(np.int32)


def write_strings(blob: Path, offsets: Path, strings: Iterable[str | bytes]) -> int:
    """A string table's two files from an iterable; returns the number of strings."""
    position, count, pending = 0, 0, [0]
    with open(blob, "wb", _CHUNK) as data, open(offsets, "wb", _CHUNK) as ends:
        for text in strings:
            raw = text.encode("utf-8") if isinstance(text, str) else text
            data.write(raw)
            position += len(raw)
            count += 1
            pending.append(position)
            if len(pending) >= _CHUNK // 64:
                ends.write(np.asarray(pending, np.uint64).tobytes())
                pending = []
        ends.write(np.asarray(pending, np.uint64).tobytes())
    return count
