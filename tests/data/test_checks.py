"""Suite checks pass on good suites and each can fail."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from small_suites import QRELS_HEADER, write_jsonl

from mtbench.data.checks import Check, check_suite, metric_checks
from mtbench.data.types import QuerySplit
from mtbench.evaluation.metrics import evaluate_task


def failed(checks: list[Check]) -> dict[str, str]:
    return {check.name: check.sentence for check in checks if not check.ok}


def test_a_good_suite(small_suite: Path) -> None:
    checks = check_suite(small_suite, "mini", evaluate=evaluate_task)
    assert failed(checks) == {}
    assert {"declaration", "first: splits", "docs: ids", "first: best ranking", "first: empty ranking"} <= {
        check.name for check in checks
    }
    assert all(check.sentence for check in checks)


@pytest.mark.parametrize("name", ["valley", "crafts"])
def test_folders_of_several_tasks(name: str, suites: Path) -> None:
    checks = check_suite(suites / name, "mini", evaluate=evaluate_task)
    assert failed(checks) == {}
    pages = [check.sentence for check in checks if check.name == "pages: pages"]
    assert pages == (["100.0 % of 9 gold pages are in it"] if name == "valley" else [])


@pytest.mark.parametrize("name", ["wiki8", "own"])
def test_the_real_suites(shared_data: Path, name: str) -> None:
    assert failed(check_suite(shared_data / name, "mini", evaluate=evaluate_task)) == {}


@pytest.mark.parametrize("name", ["kilt", "mixed"])
def test_the_generated_suites(name: str, tmp_path: Path) -> None:
    checks = check_suite(name, "mini", evaluate=evaluate_task, home=tmp_path)
    assert failed(checks) == {}
    said = [c for c in checks if "no judgement of a passage" in c.sentence]
    if name == "mixed":  # KILT lines without provenance, as real ones have them
        (check,) = said
        assert check.name == "nq: queries" and "8 dev queries have no" in check.sentence
        assert "means over the other 142" in check.sentence
    else:
        assert all(c.name.endswith(": queries") for c in said)


def test_splits_that_share_a_query(small_suite: Path) -> None:
    (small_suite / "qrels" / "dev.tsv").write_text(QRELS_HEADER + "q0\tp2\t1\nq2\tp2\t1\n")
    checks = check_suite(small_suite)
    assert failed(checks) == {"first: splits": "1 query ids are in train and dev (first: q0)"}
    (overlap,) = [check.sentence for check in checks if check.name == "first: overlap"]
    assert overlap.startswith("1 of 2 dev texts are train texts too")


def test_repeated_ids_and_unknown_passages(small_suite: Path) -> None:
    with (small_suite / "corpus.jsonl").open("a") as stream:
        stream.write(json.dumps({"_id": "p0", "text": "again"}) + "\n")
    (small_suite / "qrels" / "dev.tsv").write_text(QRELS_HEADER + "q2\tp99\t1\n")
    assert failed(check_suite(small_suite)) == {
        "docs: ids": "1 ids occur twice",
        "docs: judgements": "1 judged passages are not in it (first: p99)",
    }


def test_queries_without_text(small_suite: Path) -> None:
    write_jsonl(small_suite / "queries.jsonl", [{"_id": f"q{i}", "text": " " if i == 1 else "x"} for i in range(3)])
    assert failed(check_suite(small_suite)) == {"first: texts": "1 queries have no text (first: q1)"}


def test_gold_pages_that_the_corpus_lacks(small_suite: Path) -> None:
    toml = small_suite / "suite.toml"
    toml.write_text(toml.read_text() + 'kilt_dev = "kilt.jsonl"\n')
    output = [{"provenance": [{"wikipedia_id": "no such page"}]}]
    write_jsonl(small_suite / "kilt.jsonl", [{"id": "q2", "input": "x", "output": output}])
    assert failed(check_suite(small_suite)) == {
        "docs: pages": "0.0 % of 1 gold pages are in it (missing, e.g.: no such page)"
    }


def test_an_error_of_the_data_is_the_last_check(small_suite: Path) -> None:
    (small_suite / "queries.jsonl").write_text("[]")
    last = check_suite(small_suite)[-1]
    assert (last.name, last.ok) == ("data", False) and "queries.jsonl:1: is a JSON array" in last.sentence


DEV = QuerySplit(["a", "b"], ["x", "y"], [{"1": 1}, {"2": 1, "3": 2}], [[["p"], ["q", "r"]], [["s", "t"]]])


@pytest.mark.parametrize(
    "metric", ["rprecision_page", "rprecision_passage", "recall@20", "recall@100", "mrr@10", "ndcg@10", "success@1"]
)
def test_every_metric_is_tried(metric: str) -> None:
    assert failed(list(metric_checks("t", metric, DEV, evaluate_task))) == {}


def test_a_wrong_metric_is_found() -> None:
    def reversed_order(ranking: object, queries: object, corpus: object, metric: str) -> dict[str, np.ndarray]:
        found = ranking.indices[:, ::-1]  # type: ignore[attr-defined]
        return {"mrr@10": (found[:, :1] >= 0).any(1).astype(float) * 0.5 + 0.1}

    names = set(failed(list(metric_checks("t", "mrr@10", DEV, reversed_order))))
    assert names == {"t: best ranking", "t: empty ranking"}
