"""Array metrics against pytrec_eval and KILT's rules, their properties and corner cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
from evaluation_fakes import FakeCorpus, FakeQueries, FakeRanking
from hypothesis import given, settings
from hypothesis import strategies as st

from mtbench.evaluation import kilt_scores, trec
from mtbench.evaluation.metrics import evaluate_task, summarise
from mtbench.suite import METRICS

ROWS, PAGES, DEPTH = 140, 45, 110
PASSAGE = {
    "rprecision_passage": "Rprec",
    "recall@20": "recall@20",
    "recall@100": "recall@100",
    "mrr@10": "mrr@10",
    "ndcg@10": "ndcg@10",
}


def random_task(seed: int, num_queries: int = 40) -> tuple[FakeRanking, FakeQueries, FakeCorpus]:
    """Judgements with grades 1 to 3, gold sets with unknown pages, rankings of every length from 0 to DEPTH."""
    rng = np.random.default_rng(seed)
    corpus = FakeCorpus(rng.integers(0, PAGES, ROWS).tolist())
    judged = [
        {int(row): int(rng.integers(1, 4)) for row in rng.choice(ROWS, rng.integers(0, 30), replace=False)}
        for _ in range(num_queries)
    ]
    sets: list[list[list[int]] | None] = []
    for i in range(num_queries):
        some = [rng.integers(-3, PAGES, rng.integers(0, 5)).tolist() for _ in range(rng.integers(0, 4))]
        sets.append(None if i % 7 == 3 else [[p if p >= 0 else p - 2 for p in pages] for pages in some])
    rows = [rng.permutation(ROWS)[: rng.integers(0, DEPTH + 1)].tolist() for _ in range(num_queries)]
    return FakeRanking(rows, DEPTH), FakeQueries(judged, sets), corpus


@pytest.mark.parametrize("seed", range(5))
def test_passage_metrics_are_those_of_trec_eval(seed: int) -> None:
    ranking, queries, corpus = random_task(seed)
    ours = evaluate_task(ranking, queries, corpus)
    qrels = {q: {f"p{r}": g for r, g in judged.items()} for q, judged in zip(queries.ids, queries.judged, strict=True)}
    qrels = {q: judged for q, judged in qrels.items() if judged}
    run = {
        q: {f"p{row}": float(-j) for j, row in enumerate(rows)}
        for q, rows in zip(queries.ids, ranking.rows, strict=True)
        if rows
    }
    theirs = trec.score_run(qrels, run, list(PASSAGE.values()))
    for name, official in PASSAGE.items():
        expected = dict(zip(theirs.ids, theirs.per_query[official], strict=True))
        for query, value in zip(queries.ids, ours[name], strict=True):
            if query in expected:
                assert value == pytest.approx(expected[query], abs=1e-12), (name, query)
            else:
                assert math.isnan(value)
        assert summarise(ours)[name] == pytest.approx(theirs.metrics[official], abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_page_rprecision_is_that_of_kilt(seed: int) -> None:
    ranking, queries, corpus = random_task(seed)
    ours = evaluate_task(ranking, queries, corpus)["rprecision_page"]
    assert queries.sets is not None
    for value, sets, rows in zip(ours, queries.sets, ranking.rows, strict=True):
        if sets is None:
            assert math.isnan(value)
            continue
        guess = {"output": [{"provenance": [{"wikipedia_id": corpus.page_of[row]} for row in rows]}]}
        gold = {"output": [{"provenance": [{"wikipedia_id": page} for page in pages]} for pages in sets]}
        assert value == pytest.approx(kilt_scores.query_metrics(guess, gold, [1])["Rprec"], abs=1e-12)


CASES = {
    "a repeated page counts once": ([0, 0, 0, 1], [[0, 1]], 1.0),
    "the best of several sets counts": ([2], [[0, 1], [2]], 1.0),
    "a wrong first page costs its place": ([3, 0, 1], [[0, 1]], 0.5),
    "a page repeated in a set counts once": ([0], [[0, 0]], 1.0),
    "an output without provenance is passed over": ([0], [[], [0]], 1.0),
    "no provenance at all scores zero": ([0], [], 0.0),
    "a page outside the corpus is never found": ([0], [[0, -2]], 0.5),
    "no results score zero": ([], [[0]], 0.0),
}


@pytest.mark.parametrize("case", CASES)
def test_page_rprecision_corner_cases(case: str) -> None:
    found_pages, sets, expected = CASES[case]
    corpus = FakeCorpus([0, 0, 0, 1, 2, 3])
    free = {page: [row for row, p in enumerate(corpus.page_of) if p == page] for page in range(4)}
    ranking = FakeRanking([[free[page].pop(0) for page in found_pages], []], 6)
    result = evaluate_task(ranking, FakeQueries([{}, {}], [sets, [[1]]]), corpus)["rprecision_page"]
    assert result.tolist() == [expected, 0.0]


def test_pages_of_a_long_ranking_do_not_leak_into_the_next_query() -> None:
    ranking = FakeRanking([[0, 1, 2], [2], [1, 0]], 3)
    queries = FakeQueries([{}] * 3, [[[2]], [[0]], [[0, 1]]])
    assert evaluate_task(ranking, queries, FakeCorpus([0, 1, 2]))["rprecision_page"].tolist() == [0, 0, 1]


@given(seed=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_an_oracle_scores_one_and_an_empty_run_zero(seed: int) -> None:
    _, queries, corpus = random_task(seed, num_queries=12)
    assert queries.sets is not None
    queries.sets = [[[page for page in pages if page >= 0] for pages in sets or []] for sets in queries.sets]
    best = [sorted(judged, key=lambda row: -judged[row])[:DEPTH] for judged in queries.judged]
    for name, values in evaluate_task(FakeRanking(best, DEPTH), FakeQueries(queries.judged), corpus).items():
        if name not in ("recall@20",):
            assert np.all(np.isnan(values) | np.isclose(values, 1.0)), name
    first_row = {page: row for row, page in reversed(list(enumerate(corpus.page_of)))}
    largest = [max(sets, key=len, default=[]) for sets in queries.sets if sets is not None]
    queries.sets = [[[page for page in pages if page in first_row]] for pages in largest]
    rows = [[first_row[page] for page in dict.fromkeys(sets[0])] for sets in queries.sets if sets is not None]
    oracle = evaluate_task(FakeRanking(rows, DEPTH), FakeQueries([{}] * len(rows), queries.sets), corpus)
    if "rprecision_page" in oracle:
        expected = [1.0 if found else 0.0 for found in rows]
        assert oracle["rprecision_page"].tolist() == expected
    for values in evaluate_task(FakeRanking([[]] * len(queries), DEPTH), queries, corpus).values():
        assert np.all(np.isnan(values) | (values == 0))


@given(seed=st.integers(0, 10_000), keep=st.integers(0, 5))
@settings(max_examples=25, deadline=None)
def test_cutting_results_off_the_end_never_raises_a_score(seed: int, keep: int) -> None:
    ranking, queries, corpus = random_task(seed, num_queries=12)
    whole = evaluate_task(ranking, queries, corpus)
    cut = evaluate_task(FakeRanking([rows[:keep] for rows in ranking.rows], DEPTH), queries, corpus)
    assert whole.keys() == cut.keys()
    for name, values in whole.items():
        assert np.all(np.isnan(values) | (cut[name] <= values)), name


def test_metric_names_are_the_public_ones_in_their_order() -> None:
    assert tuple(evaluate_task(*random_task(0))) == METRICS[:-1]
    assert tuple(evaluate_task(*random_task(0), metric="success@1")) == METRICS


@pytest.mark.parametrize("seed", range(3))
def test_success_at_one_is_trec_evals_and_only_where_a_suite_ranks_by_it(seed: int) -> None:
    ranking, queries, corpus = random_task(seed)
    ours = evaluate_task(ranking, queries, corpus, "success@1")
    assert "success@1" not in evaluate_task(ranking, queries, corpus, "mrr@10")
    for i, judged in enumerate(queries.judged):
        first = ranking.rows[i][:1]
        if judged:
            assert ours["success@1"][i] == float(bool(first) and first[0] in judged)
            assert ours["success@1"][i] == (ours["mrr@10"][i] == 1)
    one_passage = evaluate_task(FakeRanking([[1], [0], []], 1), FakeQueries([{1: 2}] * 3), corpus, "success@1")
    assert one_passage["success@1"].tolist() == [1, 0, 0]


def test_metrics_without_judgements_are_left_out() -> None:
    corpus = FakeCorpus([0, 1])
    pages_only = evaluate_task(FakeRanking([[0]], 2), FakeQueries([{}], [[[0]]]), corpus)
    assert list(pages_only) == ["rprecision_page"]
    passages_only = evaluate_task(FakeRanking([[0]], 2), FakeQueries([{0: 1}]), corpus)
    assert "rprecision_page" not in passages_only
    assert set(passages_only) == set(METRICS[1:-1])


def test_a_cut_deeper_than_the_ranking_is_left_out_unless_the_corpus_is_smaller() -> None:
    queries = FakeQueries([{0: 1}])
    assert "recall@100" not in evaluate_task(FakeRanking([[0]], 20), queries, FakeCorpus(list(range(101))))
    assert "recall@20" in evaluate_task(FakeRanking([[0]], 20), queries, FakeCorpus(list(range(101))))
    assert "recall@100" in evaluate_task(FakeRanking([[0]], 20), queries, FakeCorpus(list(range(20))))


def test_a_ranking_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit 2 queries"):
        evaluate_task(FakeRanking([[0]], 2), FakeQueries([{0: 1}, {1: 1}]), FakeCorpus([0, 1]))


def test_the_mean_passes_over_undefined_queries() -> None:
    assert summarise({"a": np.array([1.0, np.nan, 0.0]), "b": np.array([np.nan])}) == {"a": 0.5}


@settings(derandomize=True, deadline=None, max_examples=150)
@given(st.lists(st.dictionaries(st.integers(0, 29), st.integers(-3, 3), max_size=8), min_size=1, max_size=6), st.data())
def test_grades_of_any_sign_count_as_under_trec_eval(grades: list[dict[int, int]], data: st.DataObject) -> None:
    """Queries with nothing relevant score 0; only those without any judgement are left out."""
    corpus = FakeCorpus(list(range(30)))
    rows = [data.draw(st.permutations(range(30))) for _ in grades]
    relevant = [{row: grade for row, grade in judged.items() if grade > 0} for judged in grades]
    queries = FakeQueries(relevant, irrelevant=frozenset(i for i, judged in enumerate(grades) if judged))
    ours = summarise(evaluate_task(FakeRanking(rows, 30), queries, corpus))
    qrels = {q: {f"p{row}": g for row, g in judged.items()} for q, judged in zip(queries.ids, grades, strict=True)}
    qrels = {query: judged for query, judged in qrels.items() if judged}
    if not qrels:
        assert ours == {}
        return
    run = {q: {f"p{row}": -float(j) for j, row in enumerate(found)} for q, found in zip(queries.ids, rows, strict=True)}
    theirs = trec.score_run(qrels, run, list(PASSAGE.values())).metrics
    assert ours == pytest.approx({name: theirs[official] for name, official in PASSAGE.items()}, abs=1e-12)
