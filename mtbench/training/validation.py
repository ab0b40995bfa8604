"""Looking at a model while it is trained: its score on the slice of train that settings are chosen on.

In the way in which DPR's code validates: the queries of the slice rank a pool of passages, not the corpus, which would
cost as much as an evaluation. Of each task the pool is the relevant passages of the slice's queries and their mined
negatives, and the score is the mean reciprocal rank of a query's best relevant passage in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mtbench.model.encoder import Side
from mtbench.records.curves import Validation
from mtbench.training.examples import TaskExamples
from mtbench.training.ranks import Ranks

Encode = Callable[[Any, np.ndarray, Side, int], np.ndarray]
"""Vectors (n, d) of the texts' rows, of a side (``query``, ``passage``), for the task at a place."""


class Pool:
    """One task's slice and the passages that it ranks."""

    def __init__(self, examples: TaskExamples, rows: np.ndarray) -> None:
        self.examples, self.rows = examples, rows
        self.relevant = [np.asarray(examples.queries.positives(int(row))[0]) for row in rows]
        mined = [] if examples.negatives is None else [found[found >= 0] for found in examples.negatives.indices[rows]]
        self.passages = np.unique(np.concatenate([*self.relevant, *mined, np.empty(0, np.int64)]).astype(np.int64))

    def score(self, encode: Encode) -> float:
        """Mean reciprocal rank; of equal scores the relevant passage comes last. NaN for an empty slice."""
        if not len(self.rows):
            return math.nan
        place = self.examples.place
        queries = encode(self.examples.queries, self.rows, "query", place)
        passages = encode(self.examples.corpus, self.passages, "passage", place)
        scores = queries @ passages.T
        found = []
        for query, relevant in zip(scores, self.relevant, strict=True):
            places = np.searchsorted(self.passages, relevant)
            best = query[places].max()
            others = np.delete(query, places)
            found.append(1.0 / (1 + int((~(others < best)).sum())))  # what is no number comes last
        return float(np.mean(found))


class Validator:
    """Scores the model every ``every`` steps and, if it is to, keeps the parameters of the best look."""

    def __init__(
        self, pools: Mapping[str, Pool], encode: Encode, every: int, keep_best: bool, theta: Tensor, ranks: Ranks
    ) -> None:
        self.pools, self.encode, self.every, self.keep_best = pools, encode, every, keep_best
        self.theta, self.ranks = theta, ranks
        self.curve: Validation = {"steps": [], "mrr": {name: [] for name in pools}, "mean": [], "kept": None}
        self.best: Tensor | None = None

    def is_due(self, done: int, total: int) -> bool:
        """After every ``every`` steps, and after the last."""
        return done % self.every == 0 or done == total

    @torch.no_grad()
    def look(self, done: int) -> None:
        """Score the model after ``done`` steps."""
        scores = torch.tensor([pool.score(self.encode) for pool in self.pools.values()], dtype=torch.float64)
        # the same on all ranks, so that all keep the same parameters
        scores = (self.ranks.all_reduce(scores.to(self.theta.device)) / self.ranks.size).cpu()
        mean = float(scores[~scores.isnan()].mean())
        best = max(self.curve["mean"], default=-math.inf)
        self.curve["steps"].append(done)
        self.curve["mean"].append(round(mean, 6))
        for name, score in zip(self.pools, scores.tolist(), strict=True):
            self.curve["mrr"][name].append(None if math.isnan(score) else round(score, 6))
        if self.keep_best and torch.isfinite(self.theta).all() and round(mean, 6) > best:
            self.best, self.curve["kept"] = self.theta.detach().clone(), done

    def finish(self) -> None:
        """Put the best parameters back, where they are to be kept."""
        if self.best is not None:
            self.theta.copy_(self.best)
            self.best = None

    def state(self) -> dict[str, object]:
        """For a checkpoint."""
        return {"curve": self.curve, "best": self.best}

    def restore(self, state: Mapping[str, Any]) -> None:
        """From a checkpoint."""
        self.curve = state["curve"]
        self.best = None if state["best"] is None else state["best"].to(self.theta.device)


def pools(examples: Sequence[TaskExamples], names: Sequence[str], rows: Sequence[np.ndarray]) -> dict[str, Pool]:
    """The pools of the tasks that have a slice."""
    triples = zip(names, examples, rows, strict=True)
    return {name: Pool(example, own) for name, example, own in triples if len(own)}
