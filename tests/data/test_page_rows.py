"""Which passages lie on a page, against the definition."""

from __future__ import annotations

import numpy as np

from mtbench.data.page_rows import PageRows


def test_rows_are_those_of_the_definition() -> None:
    pages = np.random.default_rng(0).integers(0, 40, 300).astype(np.int32)
    rows = PageRows(pages)
    for wanted in ([], [3], [39, 0, 3]):
        expected = [row for page in wanted for row in range(300) if pages[row] == page]
        found = rows.on(np.asarray(wanted, np.int64))
        assert found.tolist() == expected and found.dtype == np.int32
    for row in (0, 17, 299):
        assert rows.beside(row).tolist() == np.flatnonzero(pages == pages[row]).tolist()


def test_pages_that_the_corpus_lacks_have_none() -> None:
    assert PageRows(np.asarray([1, 0, 1], np.int32)).on(np.asarray([-2, 1, 7])).tolist() == [0, 2]
    assert PageRows(np.empty(0, np.int32)).on(np.asarray([0])).tolist() == []
