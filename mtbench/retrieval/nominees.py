"""Which passages of a window may be among the best, judged by fast scores, and their exact scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mtbench.retrieval.products import dot_products, tensor_scores
from mtbench.retrieval.ranking import NO_KEY

if TYPE_CHECKING:
    import torch

GROUP = 32
"""Passages whose largest score is looked at first: most groups have none that matters."""
_PAIR_ELEMENTS = 2**22
"""Numbers that exact scoring holds at once (float64, and as many again)."""


class Nominees:
    """Passages of one window that may be among the k best of each query: fast scores, descending, and places."""

    def __init__(self, num_queries: int, k: int, margin: torch.Tensor) -> None:
        import torch

        self.k, self.margin = k, margin
        self.scores = torch.empty((num_queries, 0), device=margin.device)
        self.columns = torch.empty((num_queries, 0), dtype=torch.int64, device=margin.device)

    def threshold(self, worst_keys: torch.Tensor) -> torch.Tensor:
        """Fast scores float64[Q] below which no passage can be among the k best; -inf while fewer are known.

        The exact k-th best score is at least that of the worst key kept so far, and at least the k-th fast score less
        the margin; a passage with that exact score has a fast score at most one margin lower.
        """
        import torch

        kept = tensor_scores(worst_keys).to(torch.float64) - self.margin
        threshold = torch.where(worst_keys == NO_KEY, torch.full_like(kept, -torch.inf), kept)
        if self.scores.shape[1] >= self.k:
            own = self.scores[:, self.k - 1].to(torch.float64) - 2 * self.margin
            threshold = torch.maximum(threshold, own)
        return threshold

    def take(self, fast: torch.Tensor, threshold: torch.Tensor, first: int) -> None:
        """Adds the passages ``first``, ``first + 1``, ... with scores ``fast`` (Q, C) that reach the threshold."""
        import torch

        peaks = fast.view(len(fast), -1, GROUP).amax(dim=2)
        # Where passages are still missing, the k-th best peak bounds the k-th best score of this chunk from below.
        source = peaks if peaks.shape[1] >= self.k else fast
        if source.shape[1] >= self.k and bool(torch.isneginf(threshold).any()):
            best = source.topk(self.k, dim=1, sorted=False).values.amin(dim=1)
            threshold = torch.maximum(threshold, best.to(torch.float64) - 2 * self.margin)
        lower = threshold.clamp(min=torch.finfo(torch.float32).min).to(torch.float32)[:, None]
        rows, groups = (peaks >= lower).nonzero(as_tuple=True)
        members = fast.view(-1, GROUP).index_select(0, rows * peaks.shape[1] + groups)
        found, places = (members >= lower[rows]).nonzero(as_tuple=True)
        if not len(found):
            return
        rows, columns = rows[found], first + groups[found] * GROUP + places
        scores = pad_rows(members[found, places], rows, len(fast), -torch.inf)
        scores, order = torch.cat([self.scores, scores], dim=1).sort(dim=1, descending=True)
        columns = torch.cat([self.columns, pad_rows(columns, rows, len(fast), 0)], dim=1).gather(1, order)
        self.scores, self.columns = scores, columns
        nothing = torch.full((len(fast),), NO_KEY, device=fast.device)
        width = int(self._needed(self.threshold(nothing)).any(dim=0).sum())
        self.scores, self.columns = scores[:, :width], columns[:, :width]

    def pairs(self, threshold: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The pairs (query, passage of the window) that reach the threshold, sorted by query."""
        rows, places = self._needed(threshold).nonzero(as_tuple=True)
        return rows, self.columns[rows, places]

    def _needed(self, threshold: torch.Tensor) -> torch.Tensor:
        import torch

        return (self.scores >= threshold[:, None]) & ~torch.isneginf(self.scores)


def exact_scores(
    queries: torch.Tensor, passages: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor
) -> torch.Tensor:
    """Exact scores float32[P] of the pairs (rows[i], columns[i]), in blocks of bounded memory."""
    import torch

    size = max(_PAIR_ELEMENTS // max(queries.shape[1], 1), 1)
    return torch.cat(
        [
            dot_products(queries.index_select(0, rows[i : i + size]), passages.index_select(0, columns[i : i + size]))
            for i in range(0, len(rows), size)
        ]
    )


def pad_rows(values: torch.Tensor, rows: torch.Tensor, num_rows: int, empty: float) -> torch.Tensor:
    """``values`` ([P], sorted by ``rows``) as a matrix [num_rows, longest row], filled up with ``empty``."""
    import torch

    counts = torch.bincount(rows, minlength=num_rows)
    starts = counts.cumsum(0) - counts
    padded = torch.full((num_rows, int(counts.max())), empty, dtype=values.dtype, device=values.device)
    padded[rows, torch.arange(len(rows), device=values.device) - starts[rows]] = values
    return padded
