"""Passages with equal tokens, against comparing all pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtbench.data import copies as subject
from mtbench.data.copies import Copies, find_copies


class Corpus:
    """Token lists in the form of a prepared corpus."""

    def __init__(self, texts: list[list[int]]) -> None:
        self.token_ids = np.array([token for text in texts for token in text], np.uint16)
        self.lengths = np.array([len(text) for text in texts], np.int32)
        self.offsets = np.concatenate([[0], np.cumsum(self.lengths)]).astype(np.uint64)


def by_definition(texts: list[list[int]], rows: list[int]) -> list[int]:
    wanted = [texts[row] for row in rows]
    return [row for row, text in enumerate(texts) if row not in rows and text in wanted]


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.lists(st.lists(st.integers(0, 2), max_size=3), max_size=30), st.data())
def test_copies_are_those_of_the_definition(texts: list[list[int]], data: st.DataObject) -> None:
    found = find_copies(Corpus(texts))
    rows = data.draw(st.lists(st.sampled_from(range(len(texts))), unique=True, max_size=4) if texts else st.just([]))
    assert found.of(np.array(rows, np.int64)).tolist() == by_definition(texts, rows)


def test_order_and_zeros_of_tokens_tell_texts_apart() -> None:
    found = find_copies(Corpus([[1, 2], [2, 1], [0], [0, 0], [], [1, 2, 0]]))
    assert len(found.members) == 0 and found.of(np.arange(6)).tolist() == []


def test_the_size_of_pieces_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    texts = [random.integers(0, 3, random.integers(0, 6)).tolist() for _ in range(300)]
    whole = find_copies(Corpus(texts))
    monkeypatch.setattr(subject, "_CHUNK", 7)
    pieces = find_copies(Corpus(texts))
    np.testing.assert_array_equal(pieces.members, whole.members)
    np.testing.assert_array_equal(pieces.starts, whole.starts)


def test_saved_copies_come_back(tmp_path: Path) -> None:
    assert Copies.open(tmp_path) is None
    find_copies(Corpus([[1], [2], [1]])).save(tmp_path)
    loaded = Copies.open(tmp_path)
    assert loaded is not None and loaded.of(np.array([0])).tolist() == [2]
