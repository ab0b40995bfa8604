"""trec_eval's figures through pytrec_eval, averaged as ``trec_eval -c`` does: a query without results counts 0.

pytrec_eval leaves queries that the run lacks out of its answer; a mean over the rest would reward answering less.
Ties are broken by trec_eval itself: scores as float32, equal ones by id descending, whatever the rank column says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mtbench.errors import DataError, UsageError

DEFAULT_METRICS = ("Rprec", "recall@20", "recall@100", "mrr@10", "ndcg@10")

_CUT = {"recall": "recall", "p": "P", "precision": "P", "ndcg": "ndcg_cut", "ndcg_cut": "ndcg_cut",
        "map": "map_cut", "map_cut": "map_cut", "success": "success"}  # fmt: skip
_WHOLE = {"rprec": "Rprec", "rprecision_passage": "Rprec", "map": "map", "ndcg": "ndcg", "recip_rank": "recip_rank",
          "mrr": "recip_rank", "bpref": "bpref", "infap": "infAP"}  # fmt: skip
_RECIPROCAL = ("mrr", "recip_rank", "rr")
_FORM = re.compile(r"([A-Za-z_]+?)(?:[@._]([0-9]+))?")


@dataclass(frozen=True)
class Measure:
    """One figure: the name asked for, the measure to compute, the key of its value, and a cut of reciprocal rank."""

    name: str
    request: str
    key: str
    cut: int | None = None

    def value(self, values: Mapping[str, float]) -> float:
        """The figure from pytrec_eval's values of one query. trec_eval has no cut for the reciprocal rank."""
        score = values.get(self.key, 0.0)
        return score if self.cut is None or score * self.cut >= 1.0 - 1e-9 else 0.0


@dataclass(frozen=True)
class TrecScores:
    """Means and per-query values of each metric over all judged queries, in the order of the judgements."""

    metrics: dict[str, float]
    ids: list[str]
    per_query: dict[str, list[float]]
    missing: int
    """Judged queries without results; each scores 0."""
    unused: int
    """Queries of the run without judgements; trec_eval leaves them out."""


def parse_metric(name: str) -> Measure:
    """``recall@100``, ``recall.100``, ``ndcg_cut_10``, ``P@5``, ``mrr@10``, ``Rprec``, ``map``... as a measure.

    Raises :class:`UsageError` naming the metrics there are.
    """
    match = _FORM.fullmatch(name.strip())
    stem, cut = (match[1].lower(), match[2]) if match else ("", None)
    if cut is not None and int(cut) > 0:
        if stem in _RECIPROCAL:
            return Measure(name.strip(), "recip_rank", "recip_rank", int(cut))
        if stem in _CUT:
            return Measure(name.strip(), f"{_CUT[stem]}.{int(cut)}", f"{_CUT[stem]}_{int(cut)}")
    elif cut is None and stem in _WHOLE:
        return Measure(name.strip(), _WHOLE[stem], _WHOLE[stem])
    raise UsageError(
        f"unknown metric {name!r}\n  Known: Rprec, map, recip_rank, ndcg, bpref and, with a cut-off, recall@K, P@K, "
        "ndcg@K, mrr@K, map@K, success@K."
    )


def score_run(
    qrels: Mapping[str, Mapping[str, int]],
    run: Mapping[str, Mapping[str, float]],
    metrics: Sequence[str] = DEFAULT_METRICS,
) -> TrecScores:
    """Score a run against judgements: means over *every* judged query (``trec_eval -c``), and values per query.

    Raises :class:`UsageError` for an unknown metric, :class:`DataError` if run and judgements share no query.
    """
    import pytrec_eval

    measures = [parse_metric(name) for name in metrics]
    if not qrels:
        raise DataError("there are no judgements to score against")
    common = [query for query in qrels if query in run]
    if not common:
        raise DataError(
            f"the run shares no query with the judgements (queries {_few(run)} against {_few(qrels)})",
            remedy="The query ids of both files must be the same text.",
        )
    # pytrec_eval reads foreign memory on a query whose highest grade is below 0. Nothing is relevant there: as with 0.
    judgements = {
        query: dict.fromkeys(judged, 0) if judged and max(judged.values()) < 0 else dict(judged)
        for query, judged in qrels.items()
    }
    evaluator = pytrec_eval.RelevanceEvaluator(judgements, {measure.request for measure in measures})
    found = evaluator.evaluate({query: {p: float(s) for p, s in run[query].items()} for query in common})
    per_query = {
        measure.name: [measure.value(found[query]) if query in found else 0.0 for query in qrels]
        for measure in measures
    }
    means = {name: sum(values) / len(values) for name, values in per_query.items()}
    return TrecScores(means, list(qrels), per_query, len(qrels) - len(common), len(set(run) - set(qrels)))


def _few(ids: Iterable[str]) -> str:
    return ", ".join(repr(i) for i, _ in zip(ids, range(3), strict=False)) + "..."
