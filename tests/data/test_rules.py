"""Which suites call for a rule, and that all others keep their ids."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from small_suites import QRELS_HEADER, SUITE_TOML, write_jsonl

from mtbench.data import rules as subject
from mtbench.data.loading import load_suite, suite_fingerprint
from mtbench.data.rules import read_facts, rules_of_stage, suite_facts
from mtbench.suite import Suite

PASSAGES = {"p1": "the river runs to the sea", "p2": "a stone in the garden", "p3": "birds over the hill"}
QUERIES = {"q1": "where does the river run", "q2": "what lies in the garden", "q3": "who flies"}


def make(
    folder: Path,
    passages: dict[str, str] = PASSAGES,
    queries: dict[str, str] = QUERIES,
    train: str = "q1\tp1\t1\n",
    dev: str = "q2\tp2\t1\n",
) -> Suite:
    write_jsonl(folder / "corpus.jsonl", [{"_id": i, "title": "", "text": t} for i, t in passages.items()])
    write_jsonl(folder / "queries.jsonl", [{"_id": i, "text": t} for i, t in queries.items()])
    (folder / "qrels").mkdir(exist_ok=True)
    (folder / "qrels" / "train.tsv").write_text(QRELS_HEADER + train, "utf-8")
    (folder / "qrels" / "dev.tsv").write_text(QRELS_HEADER + dev, "utf-8")
    (folder / "suite.toml").write_text(SUITE_TOML, "utf-8")
    return load_suite(folder, "mini")


def rules_of(suite: Suite) -> dict[str, Any]:
    return read_facts(suite).rules(suite, suite_fingerprint(suite, suite.root))


def test_a_plain_suite_calls_for_nothing(tmp_path: Path) -> None:
    suite = make(tmp_path)
    facts = read_facts(suite)
    assert facts.rules(suite, "") == {}
    assert (facts.passages, facts.trainable, facts.most_passages) == ({"docs": 3}, {"first": 1}, {"first": 1})


@pytest.mark.parametrize(("grade", "found"), [("0", True), ("-2", True), ("1", False)])
def test_dev_queries_without_a_relevant_passage(tmp_path: Path, grade: str, found: bool) -> None:
    suite = make(tmp_path, dev=f"q2\tp2\t1\nq3\tp3\t{grade}\n")
    assert rules_of(suite) == ({"zero_judged": ["first"]} if found else {})


def test_copies_count_where_a_relevant_passage_has_one(tmp_path: Path) -> None:
    again = {**PASSAGES, "p4": "the  river runs\tto the sea"}
    assert rules_of(make(tmp_path, again)) == {"copies": ["docs"]}
    assert rules_of(make(tmp_path, {**PASSAGES, "p4": PASSAGES["p3"]})) == {}  # of none that is trained on
    assert rules_of(make(tmp_path, {**PASSAGES, "p4": "the river runs to the sea again"})) == {}


def test_passages_that_are_cut_to_the_same_words_are_copies(tmp_path: Path) -> None:
    start = " ".join(f"w{i}" for i in range(160))
    long = {**PASSAGES, "p1": f"{start} one", "p4": f"{start} two"}
    assert rules_of(make(tmp_path, long)) == {"copies": ["docs"]}


def test_words_of_other_scripts(tmp_path: Path) -> None:
    assert rules_of(make(tmp_path, {**PASSAGES, "p2": "बारिश में चाँद"})) == {"words": ["docs"]}
    assert rules_of(make(tmp_path, queries={**QUERIES, "q2": "東京は"})) == {"words": ["docs"]}
    assert rules_of(make(tmp_path, {**PASSAGES, "p2": "naïve “café” — łódź ❤️"})) == {}


def test_ids_that_are_the_same_by_chance_are_no_case(tmp_path: Path) -> None:
    numbered = {"1": "the river runs to the sea", "2": "a stone in the garden", "3": "birds over the hill"}
    queries = {"1": "what lies where", "2": "birds", "3": "the river runs"}
    assert rules_of(make(tmp_path, numbered, queries, "1\t2\t1\n", "3\t1\t1\n")) == {}


def test_queries_that_stand_in_their_corpus(tmp_path: Path) -> None:
    queries = {name: PASSAGES[name].upper() for name in ("p1", "p2")}
    suite = make(tmp_path, queries=queries, train="p1\tp3\t1\n", dev="p2\tp3\t1\n")
    assert read_facts(suite).own_ids == {"first": 2}
    assert rules_of(suite) == {"own_ids": ["first"]}
    declared = dataclasses.replace(suite, tasks=(dataclasses.replace(suite.tasks[0], ignore_identical_ids=True),))
    assert read_facts(declared).rules(declared, "") == {}, "the declaration is in the suite's own fingerprint"
    assert suite_fingerprint(declared, tmp_path) != suite_fingerprint(suite, tmp_path)


def test_a_passage_that_answers_the_query_of_its_id_is_no_case(tmp_path: Path) -> None:
    queries = {name: PASSAGES[name] for name in ("p1", "p2")}
    assert rules_of(make(tmp_path, queries=queries, train="p1\tp1\t1\n", dev="p2\tp2\t1\n")) == {}


def test_a_suite_recorded_before_the_rules_keeps_its_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = make(tmp_path, {**PASSAGES, "p2": "बारिश में चाँद"})
    monkeypatch.setitem(subject.RECORDED_BEFORE, suite_fingerprint(suite, tmp_path), "small@1")
    assert rules_of(suite) == {}


def test_files_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = make(tmp_path / "suite", dev="q2\tp2\t1\nq3\tp3\t0\n")
    first = suite_facts(suite, "a", tmp_path)
    monkeypatch.setattr(subject, "read_facts", lambda _: pytest.fail("read again"))
    assert suite_facts(suite, "a", tmp_path) == first
    kept = tmp_path / "raw" / "facts.json"
    kept.write_text(json.dumps({**json.loads(kept.read_text()), "format": 0}))
    with pytest.raises(pytest.fail.Exception, match="read again"):
        suite_facts(suite, "a", tmp_path)


def test_a_rule_stands_in_the_first_stage_that_it_changes() -> None:
    rules = {"copies": ["docs"], "words": ["docs"]}
    assert rules_of_stage(rules, "prepare") == {"copies": ["docs"]}
    assert rules_of_stage(rules, "bm25") == {"words": ["docs"]}
    assert rules_of_stage(rules, "train") == {}


@pytest.mark.parametrize("name", ["kilt", "mixed"])
def test_built_in_suites_call_for_nothing(name: str, tmp_path: Path) -> None:
    suite = load_suite(name, "mini", home=tmp_path)
    assert read_facts(suite).rules(suite, "") == {}


def test_suites_recorded_before_are_those_of_the_committed_records() -> None:
    files = (Path(__file__).resolve().parents[2] / "results" / "runs").glob("*/*/*/*.json")
    specs = [json.loads(file.read_text(encoding="utf-8"))["spec"] for file in files]
    folders = {s["suite_fingerprint"]: f"{s['suite']}@{s['suite_version']}" for s in specs}
    assert subject.RECORDED_BEFORE.items() <= folders.items()
    assert {"wiki8@1", "own7@1"} <= set(subject.RECORDED_BEFORE.values())


@pytest.mark.parametrize("name", ["own", "wiki8"])
def test_folders_with_committed_records_keep_their_ids(name: str, shared_data: Path, tmp_path: Path) -> None:
    suite = load_suite(shared_data / name, "mini")
    key = suite_fingerprint(suite, tmp_path)
    assert key in subject.RECORDED_BEFORE and read_facts(suite).rules(suite, key) == {}
