"""String tables, decimal ids and their ranks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mtbench.data.tables import DecimalIds, StringTable, decimal_ranks, write_strings


@pytest.mark.parametrize("size", [1, 2, 9, 10, 11, 99, 100, 101, 1000, 1234, 20_001])
def test_decimal_ranks_are_those_of_sorting(size: int) -> None:
    expected = np.empty(size, np.int64)
    expected[sorted(range(size), key=str)] = np.arange(size)
    assert decimal_ranks(0, size, size).tolist() == expected.tolist()
    middle = size // 2
    assert decimal_ranks(middle, size, size).tolist() == expected[middle:].tolist()


def test_decimal_ranks_of_36_million_ids() -> None:
    size = 36_000_000
    ranks = decimal_ranks(35_999_990, size, size)
    assert (np.diff(ranks) == 1).all() and ranks[-1] < size
    assert decimal_ranks(9_999_999, 10_000_000, size).tolist() == [size - 1]  # '9999999' is the last string


def test_decimal_ids_accept_only_their_own_spelling() -> None:
    ids = DecimalIds(20)
    assert (len(ids), ids[17], ids.find("17"), ids[2:4]) == (20, "17", 17, ["2", "3"])
    assert [ids.find(text) for text in ("20", "007", "-1", "", "x", "1.0", "٣", "9" * 30)] == [-1] * 8


def test_strings_survive_and_are_found(tmp_path: Path) -> None:
    strings = ["", "b", "a", "é", "\u200b", "\U0001f600", "ab", "a\nb", "Z"]
    assert write_strings(tmp_path / "s", tmp_path / "o", strings) == len(strings)
    order = np.asarray(sorted(range(len(strings)), key=lambda i: strings[i].encode()))
    table = StringTable(tmp_path / "s", tmp_path / "o", order)
    assert list(table) == strings and table[-1] == "Z" and table[1:3] == ["b", "a"]
    assert [table.find(text) for text in strings] == list(range(len(strings)))
    assert [table.find(text) for text in ("aa", "zz", "B", "éé")] == [-1] * 4
    assert [strings[i] for i in order] == sorted(strings), "byte order is string order"


def test_an_empty_table(tmp_path: Path) -> None:
    write_strings(tmp_path / "s", tmp_path / "o", [])
    assert len(StringTable(tmp_path / "s", tmp_path / "o")) == 0
    assert StringTable(tmp_path / "s", tmp_path / "o").find("a") == -1
