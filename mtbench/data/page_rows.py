"""Which passages lie on a page."""

from __future__ import annotations

from functools import cached_property

import numpy as np


class PageRows:
    """Rows of the passages on given pages, through an index that is made when first asked.

    ``pages`` int32[N]: the page of every passage.
    """

    def __init__(self, pages: np.ndarray) -> None:
        self._pages = pages

    @cached_property
    def _order(self) -> np.ndarray:
        return np.argsort(self._pages, kind="stable").astype(np.int32)

    @cached_property
    def _sorted(self) -> np.ndarray:
        return self._pages[self._order]

    def on(self, pages: np.ndarray) -> np.ndarray:
        """int32: the passages on ``pages``, page after page, ascending on each; none for a page that is not there."""
        starts = np.searchsorted(self._sorted, pages, side="left")
        stops = np.searchsorted(self._sorted, pages, side="right")
        parts = [self._order[start:stop] for start, stop in zip(starts, stops, strict=True)]
        return np.concatenate([np.empty(0, dtype=np.int32), *parts])

    def beside(self, row: int) -> np.ndarray:
        """int32: the passages on the page of passage ``row``, itself among them."""
        return self.on(self._pages[row : row + 1])
