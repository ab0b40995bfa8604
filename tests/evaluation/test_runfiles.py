"""Reading forgives white space, refuses broken data by file and line; what is written reads back equal."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import pytrec_eval
from evaluation_fakes import FakeCorpus, FakeQueries, FakeRanking

from mtbench.errors import DataError
from mtbench.evaluation.kilt_scores import score_files
from mtbench.evaluation.metrics import evaluate_task
from mtbench.evaluation.runfiles import (
    read_qrels,
    read_run_for,
    read_trec_run,
    write_kilt_predictions,
    write_trec_run,
)
from mtbench.evaluation.trec import score_run
from mtbench.evaluation.trec_ids import encode_id


def test_a_run_is_read_with_tabs_spaces_crlf_and_without_tag(tmp_path: Path) -> None:
    path = tmp_path / "run.trec"
    path.write_bytes(b"q1\tQ0\td1\t1\t2.5\ttag\r\nq1  Q0 d2  2   1e-3\r\n\r\nq2 Q0 d1 1 -4 tag")
    assert read_trec_run(path) == {"q1": {"d1": 2.5, "d2": 0.001}, "q2": {"d1": -4.0}}


def test_ids_with_spaces_are_read_where_columns_end_at_tabs(tmp_path: Path) -> None:
    run, qrels = tmp_path / "run.trec", tmp_path / "q.trec"
    run.write_bytes(b"1143a_0 REPORT:0\tQ0\td 1\t1\t2.5\ttag\r\nq2\tQ0\td1\t1\t2\n")
    qrels.write_bytes(b"1143a_0 REPORT:0\t0\td 1\t1\n")
    assert read_trec_run(run) == {"1143a_0 REPORT:0": {"d 1": 2.5}, "q2": {"d1": 2.0}}
    assert read_qrels(qrels) == {"1143a_0 REPORT:0": {"d 1": 1}}


def test_judgements_are_read_in_both_forms(tmp_path: Path) -> None:
    trec, beir = tmp_path / "q.trec", tmp_path / "q.tsv"
    trec.write_bytes(b"q1 0 d1 1\r\nq1\t0\td2\t0 \r\nq2 0 d1 -1")
    beir.write_bytes(b"query-id\tcorpus-id\tscore\r\nq 1\td1\t1\nq 1\td2\t2.0\n")
    assert read_qrels(trec) == {"q1": {"d1": 1, "d2": 0}, "q2": {"d1": -1}}
    assert read_qrels(beir) == {"q 1": {"d1": 1, "d2": 2}}


def test_every_line_of_beir_judgements_with_crlf_counts(tmp_path: Path) -> None:
    path = tmp_path / "test.tsv"
    lines = [f"{i // 3}\t{1000 + i}\t1" for i in range(50)]
    path.write_bytes("\r\n".join(["query-id\tcorpus-id\tscore", *lines, ""]).encode())
    found = read_qrels(path)
    assert [(q, p, grade) for q, judged in found.items() for p, grade in judged.items()] == [
        (str(i // 3), str(1000 + i), 1) for i in range(50)
    ]


@pytest.mark.parametrize("name", ["fiqa/qrels/dev.tsv", "scifact/qrels/test.tsv"])
def test_real_beir_judgements_with_crlf(shared_data: Path, name: str) -> None:
    path = shared_data / "formats" / "beir_crlf" / name
    pairs = sum(len(judged) for judged in read_qrels(path).values())
    assert pairs == len(path.read_text().splitlines()) - 1


BROKEN_RUNS = {
    "q1 Q0 d1 1 2.5 t\nq1 Q0 d2 1": r":2: a run line has 6 columns .* this has 4",
    "q1 Q0 d1 1 high t": r":1: the score must be a finite number, not 'high'",
    "q1 Q0 d1 1 nan t": r":1: the score must be a finite number",
    "q1 Q0 d1 1 3 t\nq1 Q0 d1 2 2 t": r":2: passage 'd1' occurs twice for query 'q1'",
    "\n": "the run has no lines",
    "version https://git-lfs.github.com/spec/v1\noid sha256:0": "Git LFS pointer",
}


@pytest.mark.parametrize("text", BROKEN_RUNS)
def test_a_broken_run_is_refused_by_file_and_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.trec"
    path.write_text(text)
    with pytest.raises(DataError, match=r"(?s)bad\.trec.*" + BROKEN_RUNS[text]):
        read_trec_run(path)


BROKEN_QRELS = {
    "q1 0 d1 1\nq1 d2": r":2: a judgement has 4 columns",
    "q1 0 d1 yes": r":1: the relevance must be a whole number, found 'yes'",
    "q1 0 d1 99999999999": r":1: a relevance beyond 1,000,000",
    "q1 0 d1 0.5": r":1: the relevance must be a whole number",
    "q1 0 d1 1\nq1 0 d1 2": r":2: query 'q1' and passage 'd1' are judged twice, 1 and 2",
    "": "no judgements",
}


@pytest.mark.parametrize("text", BROKEN_QRELS)
def test_broken_judgements_are_refused_by_file_and_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.qrels"
    path.write_text(text)
    with pytest.raises(DataError, match=r"bad\.qrels.*" + BROKEN_QRELS[text]):
        read_qrels(path)


def test_a_written_run_reads_back_with_equal_scores_and_ties(tmp_path: Path) -> None:
    scores = [[1 / 3, 1 / 3, 0.1], [1e-7]]
    ranking = FakeRanking([[2, 0, 1], [3]], 5, scores)
    path = write_trec_run(tmp_path / "deep" / "nq.trec", ranking, ["q0", "q1"], FakeCorpus([0, 0, 1, 1]), "mine")
    run = read_trec_run(path)
    assert list(run["q0"]) == ["p2", "p0", "p1"]
    for query, given in zip(("q0", "q1"), scores, strict=True):
        assert np.array_equal(np.float32(list(run[query].values())), np.float32(given))
    assert path.read_text().splitlines()[0].split("\t")[-1] == "mine"
    assert [p.name for p in path.parent.iterdir()] == ["nq.trec"]


def test_run_files_give_the_figures_of_the_arrays(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    corpus = FakeCorpus(rng.integers(0, 20, 60).tolist())
    queries = FakeQueries(
        [{int(r): 1 for r in rng.choice(60, 4, replace=False)} for _ in range(30)],
        [[rng.choice(20, 2, replace=False).tolist() for _ in range(2)] for _ in range(30)],
    )
    values = -np.sort(-rng.integers(0, 5, (30, 25)).astype(float), axis=1)
    rows = []
    for row_scores in values:  # ties in the order of descending id, as the search leaves them
        chosen = rng.choice(60, 25, replace=False)
        order = sorted(range(25), key=lambda j: (row_scores[j], f"p{chosen[j]}"), reverse=True)
        rows.append([int(chosen[j]) for j in order])
    ranking = FakeRanking(rows, 25, [sorted(v, reverse=True) for v in values.tolist()])
    # Scores and rows were sorted by the same key, so position j has the j-th largest score.
    ours = evaluate_task(ranking, queries, corpus)
    run = read_trec_run(write_trec_run(tmp_path / "r.trec", ranking, queries.ids, corpus))
    qrels = {q: {f"p{row}": g for row, g in j.items()} for q, j in zip(queries.ids, queries.judged, strict=True)}
    theirs = score_run(qrels, run, ["Rprec", "recall@20", "mrr@10", "ndcg@10"])
    for name, official in (("rprecision_passage", "Rprec"), ("recall@20", "recall@20"), ("mrr@10", "mrr@10")):
        assert np.allclose(ours[name], theirs.per_query[official]), name
    gold = tmp_path / "gold.jsonl"
    names = corpus.page_names
    assert queries.sets is not None
    with open(gold, "w") as stream:
        for query, sets in zip(queries.ids, queries.sets, strict=True):
            outputs = [{"provenance": [{"wikipedia_id": names[page]} for page in pages]} for pages in sets or []]
            stream.write(json.dumps({"id": query, "output": outputs}) + "\n")
    guess = write_kilt_predictions(tmp_path / "guess.jsonl", ranking, queries, corpus)
    assert score_files(gold, guess).per_query["Rprec"] == ours["rprecision_page"].tolist()


def test_kilt_predictions_hold_each_page_once_with_one_line_per_query(tmp_path: Path) -> None:
    ranking = FakeRanking([[0, 1, 2], []], 3)
    path = write_kilt_predictions(tmp_path / "g.jsonl", ranking, FakeQueries([{}, {}]), FakeCorpus([4, 4, 1]))
    first, second = (json.loads(line) for line in path.read_text().splitlines())
    assert [p["wikipedia_id"] for p in first["output"][0]["provenance"]] == ["page4", "page1"]
    assert first["output"][0]["provenance"][0]["title"] == "Title 4"
    assert first["input"] == "question 0\nsecond line"
    assert second["output"][0]["provenance"] == []


def test_ids_with_blanks_are_written_for_other_tools_and_read_back(tmp_path: Path) -> None:
    class Corpus(FakeCorpus):
        def id(self, i: int) -> str:
            return ["a b", "a%20b", "c", "d\u00a0"][i]

    queries = ["1143a_0 REPORT:0", "q2"]
    rows, scores = [[1, 0, 2], [3, 2]], [[3.0, 2.0, 1.0], [2.0, 1.0]]
    path = write_trec_run(tmp_path / "r.trec", FakeRanking(rows, 3, scores), queries, Corpus([0] * 4), "tag")
    qrels = {"1143a_0 REPORT:0": {"a b": 1}, "q2": {"c": 1, "d\u00a0": 2}}
    run = read_run_for(qrels, path)
    assert run == {"1143a_0 REPORT:0": {"a%20b": 3.0, "a b": 2.0, "c": 1.0}, "q2": {"d\u00a0": 2.0, "c": 1.0}}
    with open(path) as stream:
        theirs = pytrec_eval.parse_run(stream)
    encoded = {encode_id(q): {encode_id(p): g for p, g in judged.items()} for q, judged in qrels.items()}
    found = pytrec_eval.RelevanceEvaluator(encoded, {"ndcg_cut.10"}).evaluate(theirs)
    ours = score_run(qrels, run, ["ndcg@10"])
    assert [found[encode_id(q)]["ndcg_cut_10"] for q in queries] == ours.per_query["ndcg@10"]


def test_percent_signs_of_other_systems_stay(tmp_path: Path) -> None:
    path = tmp_path / "r.trec"
    path.write_text("q1 Q0 N%C3%BC 1 2 t\nq1 Q0 a%20b 2 1 t\n")
    assert read_run_for({"q1": {"N%C3%BC": 1}}, path) == {"q1": {"N%C3%BC": 2.0, "a%20b": 1.0}}
    assert read_run_for({"q1": {"a b": 1}}, path) == {"q1": {"Nü": 2.0, "a b": 1.0}}
    path.write_text("q1\tQ0\ta b\t1\t2\nq1\tQ0\ta%20b\t2\t1\n q 2\tQ0\tx\t1\t1\nq%203\tQ0\tx\t1\t1\n")
    with pytest.raises(DataError, match="'a b' occurs twice"):
        read_run_for({"q 3": {"x": 1}}, path)
