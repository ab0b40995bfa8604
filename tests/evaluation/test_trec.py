"""trec_eval's figures: worked by hand and by pytrec_eval; names, ties, missing queries."""

from __future__ import annotations

import random
from math import log2
from pathlib import Path
from random import Random

import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from mtbench.errors import DataError, UsageError
from mtbench.evaluation.runfiles import read_qrels, read_trec_run
from mtbench.evaluation.trec import parse_metric, score_run

QRELS = {"a": {"d1": 1, "d2": 0, "d3": 2}, "b": {"d4": 1}}


def assert_pytrec_evals_figures(qrels: Path, run: Path) -> None:
    with open(qrels) as stream:
        their_qrels = pytrec_eval.parse_qrel(stream)
    with open(run) as stream:
        their_run = pytrec_eval.parse_run(stream)
    names = {
        "Rprec": "Rprec",
        "recall@100": "recall_100",
        "ndcg@10": "ndcg_cut_10",
        "P@5": "P_5",
        "map": "map",
    }
    requests = {"Rprec", "recall.100", "ndcg_cut.10", "P.5", "map"}
    theirs = pytrec_eval.RelevanceEvaluator(their_qrels, requests).evaluate(their_run)
    ours = score_run(read_qrels(qrels), read_trec_run(run), list(names))
    for name, key in names.items():
        expected = {q: theirs[q][key] if q in theirs else 0.0 for q in their_qrels}
        assert dict(zip(ours.ids, ours.per_query[name], strict=True)) == expected
        assert ours.metrics[name] == pytest.approx(sum(expected.values()) / len(their_qrels))


def test_pytrec_evals_figures_of_files_worked_by_hand(formats: Path) -> None:
    assert_pytrec_evals_figures(formats / "trec" / "graded.qrels", formats / "trec" / "graded.run")


@pytest.mark.parametrize("seed", range(5))
def test_pytrec_evals_figures_of_random_files(seed: int, tmp_path: Path) -> None:
    """Grades 0 to 3, deep rankings in any order with many ties, queries of one file alone."""
    draw = random.Random(seed)
    passages = [f"{kind}_{i:x}" for kind in ("A", "b") for i in range(400)]
    qrels, run = tmp_path / "q", tmp_path / "r"
    qrels.write_text(
        "".join(
            f"{query} Q0 {passage} {draw.choice([0, 0, 1, 2, 3])}\n"
            for query in range(8)
            for passage in draw.sample(passages, draw.randint(1, 150))
        )
    )
    run.write_text(
        "".join(
            f"{query}\tQ0\t{passage}\t{draw.randint(1, 999)}\t  {draw.randint(0, 60) / 8:.6f}\tSTANDARD\n"
            for query in range(1, 10)
            for passage in draw.sample(passages, draw.randint(1, 500))
        )
    )
    assert_pytrec_evals_figures(qrels, run)


@pytest.mark.parametrize(
    ("qrels", "run"),
    [("ir_measures_compat.qrels", "ir_measures_compat.run"), ("ranx_qrels.test", "ranx_results.test")],
)
def test_pytrec_evals_figures_of_real_files(shared_data: Path, qrels: str, run: str) -> None:
    assert_pytrec_evals_figures(shared_data / "formats" / "trec" / qrels, shared_data / "formats" / "trec" / run)


def test_figures_worked_by_hand(formats: Path) -> None:
    folder = formats / "trec"
    names = ["Rprec", "recall@100", "mrr@10", "ndcg@10", "P@1", "map"]
    scores = score_run(read_qrels(folder / "graded.qrels"), read_trec_run(folder / "graded.run"), names)
    assert scores.ids == ["light", "ferry", "kiln", "moor"]
    assert (scores.missing, scores.unused) == (0, 1)  # "owl" is not judged
    # light: by score lamp 0, head 3, floor unjudged, keeper 1; bell 1 is not found. Rprec looks at three, as three are
    # relevant.
    # ferry: rope, ice and fog tie and go by id from the end of the alphabet, so rope stands first.
    # kiln: in the best order. moor: nothing is relevant to it, and it counts.
    light_ndcg = (3 / log2(3) + 1 / log2(5)) / (3 + 1 / log2(3) + 1 / log2(4))
    assert scores.per_query == {
        "Rprec": pytest.approx([1 / 3, 1, 1, 0]),
        "recall@100": pytest.approx([2 / 3, 1, 1, 0]),
        "mrr@10": pytest.approx([1 / 2, 1, 1, 0]),
        "ndcg@10": pytest.approx([light_ndcg, 1, 1, 0]),
        "P@1": pytest.approx([0, 1, 1, 0]),
        "map": pytest.approx([(1 / 2 + 2 / 4) / 3, 1, 1, 0]),
    }
    assert scores.metrics["Rprec"] == pytest.approx((1 / 3 + 2) / 4)


def test_known_figures_of_a_real_run(shared_data: Path) -> None:
    folder = shared_data / "formats" / "trec"
    scores = score_run(
        read_qrels(folder / "ir_measures_compat.qrels"),
        read_trec_run(folder / "ir_measures_compat.run"),
        ["Rprec", "recall@100", "mrr@10", "recip_rank"],
    )
    assert scores.metrics["Rprec"] == pytest.approx(0.2533197139938713)
    assert scores.metrics["recall@100"] == pytest.approx(0.27841821100248065)
    assert scores.metrics["mrr@10"] == 0.5  # the second query's first hit is at rank 26
    assert scores.metrics["recip_rank"] == pytest.approx((1 + 1 / 26) / 2)


def test_a_query_without_results_counts_zero() -> None:
    scores = score_run(QRELS, {"a": {"d1": 2.0, "d3": 1.0}, "unjudged": {"d1": 1.0}}, ["Rprec", "recall@20"])
    assert scores.per_query["Rprec"] == [1.0, 0.0]
    assert scores.metrics == {"Rprec": 0.5, "recall@20": 0.5}
    assert (scores.missing, scores.unused) == (1, 1)


def test_ties_go_by_id_descending_whatever_the_order_given() -> None:
    tied = {"a": {"d1": 1.0, "d2": 1.0, "d3": 1.0}}
    assert score_run({"a": {"d3": 1}}, tied, ["mrr"]).metrics["mrr"] == 1.0
    assert score_run({"a": {"d1": 1}}, tied, ["mrr"]).metrics["mrr"] == pytest.approx(1 / 3)
    # Ids compare as bytes: "d10" comes before "d9".
    assert score_run({"a": {"d10": 1}}, {"a": {"d10": 1.0, "d9": 1.0}}, ["mrr"]).metrics["mrr"] == 0.5


def test_scores_that_are_equal_in_float32_tie() -> None:
    run = {"a": {"d1": 1.0 + 1e-12, "d2": 1.0}}
    assert score_run({"a": {"d2": 1}}, run, ["mrr"]).metrics["mrr"] == 1.0


@pytest.mark.parametrize("rank", [1, 3, 9, 10, 11, 12])
def test_reciprocal_rank_is_cut_at_its_depth(rank: int) -> None:
    run = {"a": {f"x{i:02}": float(-i) for i in range(20)}}
    run["a"]["d1"] = -rank + 1 + 0.5
    got = score_run({"a": {"d1": 1}}, run, ["mrr@10", "recip_rank.10", "recip_rank"]).metrics
    assert got["mrr@10"] == got["recip_rank.10"] == pytest.approx(1 / rank if rank <= 10 else 0.0)
    assert got["recip_rank"] == pytest.approx(1 / rank)


@pytest.mark.parametrize(
    ("names", "request_"),
    [
        (("recall@100", "recall_100", "recall.100"), "recall.100"),
        (("ndcg@10", "ndcg_cut_10", "ndcg_cut.10", "NDCG@10"), "ndcg_cut.10"),
        (("P@5", "P_5", "precision@5"), "P.5"),
        (("Rprec", "rprecision_passage"), "Rprec"),
        (("map",), "map"),
        (("map@20",), "map_cut.20"),
        (("mrr", "recip_rank", "mrr@10"), "recip_rank"),
        (("success@1",), "success.1"),
    ],
)
def test_metric_names(names: tuple[str, ...], request_: str) -> None:
    assert {parse_metric(name).request for name in names} == {request_}


@pytest.mark.parametrize("name", ["", "recal@5", "recall", "Rprec@5", "recall@0", "P", "recall@-1", "recall@5@6"])
def test_an_unknown_metric_is_named_with_those_there_are(name: str) -> None:
    with pytest.raises(UsageError, match=r"unknown metric .*\n.*recall@K"):
        score_run(QRELS, {"a": {"d1": 1.0}}, [name])


def test_files_without_a_common_query_are_refused() -> None:
    with pytest.raises(DataError, match="shares no query"):
        score_run(QRELS, {"z": {"d1": 1.0}})


def test_a_judged_query_without_relevant_passages_counts_zero() -> None:
    assert (
        score_run({"a": {"d1": 1}, "b": {"d1": 0}}, {"a": {"d1": 1.0}, "b": {"d1": 1.0}}, ["P@1"]).metrics["P@1"] == 0.5
    )


@pytest.mark.parametrize("grade", [-1, -2, -10])
def test_a_query_judged_only_below_zero_counts_zero(grade: int) -> None:
    run = {"a": {"d1": 2.0, "d2": 1.0}, "b": {"d1": 2.0, "d2": 1.0}}
    scored = score_run({"a": {"d1": 1}, "b": {"d1": grade}}, run, ["Rprec", "ndcg@10", "recall@100", "map"])
    assert scored.metrics == {"Rprec": 0.5, "ndcg@10": 0.5, "recall@100": 0.5, "map": 0.5}


GRADES = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(-4, 3), min_size=1)
REQUESTS = {"Rprec": "Rprec", "bpref": "bpref", "ndcg": "ndcg", "map": "map", "recall@5": "recall_5", "P@5": "P_5"}


@settings(derandomize=True, deadline=None, max_examples=150)
@given(st.lists(GRADES, min_size=1, max_size=5), st.randoms())
def test_grades_below_zero_change_nothing_that_trec_eval_says(grades: list[dict[str, int]], random: Random) -> None:
    qrels = {f"q{i}": judged for i, judged in enumerate(grades)}
    run = {query: {d: random.choice([1.0, 2.0, 3.0]) for d in "abcdefghij"} for query in qrels}
    ours = score_run(qrels, run, list(REQUESTS))
    safe = {query: judged for query, judged in qrels.items() if max(judged.values()) >= 0}  # it crashes on others
    requests = {"Rprec", "bpref", "ndcg", "map", "recall.5", "P.5"}
    theirs = pytrec_eval.RelevanceEvaluator(safe, requests).evaluate(run) if safe else {}
    for name, key in REQUESTS.items():
        expected = [theirs[query][key] if query in safe else 0.0 for query in qrels]
        assert ours.per_query[name] == expected
