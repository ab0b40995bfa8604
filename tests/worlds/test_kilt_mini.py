"""The generated KILT suite: formats, provenance, uniqueness, readability, and how hard it is for BM25."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from mtbench.worlds.kilt_mini import DEV_QUERIES, TRAIN_QUERIES, generate

TASKS = ("fever", "aidayago2", "trex", "structured_zeroshot", "nq", "hotpotqa", "triviaqa", "wow")
DPR_NAMES = {"structured_zeroshot": "zeroshot"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kilt")
    generate(folder, seed=0)
    return folder


def hashes(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@cache
def passages(folder: Path) -> list[list[str]]:
    with (folder / "psgs_w100.tsv").open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file, delimiter="\t", quotechar='"'))[1:]


@cache
def kilt(folder: Path, task: str, split: str) -> list[dict[str, Any]]:
    stem = f"triviaqa-{split}_id" if task == "triviaqa" else f"{task}-{split}"
    records = lines(folder / f"{stem}-kilt.jsonl")
    if task == "triviaqa":
        assert all("input" not in r for r in records)
        original = json.loads((folder / "triviaqa-rc" / "qa" / f"wikipedia-{split}.json").read_text())
        questions = {item["QuestionId"]: item["Question"] for item in original["Data"]}
        for record in records:
            record["input"] = questions[record["id"]]
    return records


@cache
def dpr(folder: Path, task: str, split: str) -> list[dict[str, Any]]:
    path = folder / f"{DPR_NAMES.get(task, task)}-{split}-multikilt.json"
    rows: list[dict[str, Any]] = json.loads(path.read_text())
    return rows


def page_sets(record: dict[str, Any]) -> list[set[str]]:
    return [{p["wikipedia_id"] for p in o["provenance"]} for o in record["output"] if o.get("provenance")]


def test_same_seed_same_bytes_other_seed_other_bytes(folder: Path, tmp_path: Path) -> None:
    generate(tmp_path / "again", seed=0)
    generate(tmp_path / "other", seed=1)
    first, again, other = (hashes(f) for f in (folder, tmp_path / "again", tmp_path / "other"))
    assert first == again
    assert set(first) == set(other)
    assert not any(first[name] == other[name] for name in first)


def test_passages_are_rows_of_six_columns_with_ids_from_zero(folder: Path) -> None:
    rows = passages(folder)
    assert len(rows) == 900
    assert [row[0] for row in rows] == [str(i) for i in range(len(rows))]
    assert {len(row) for row in rows} == {6}
    assert all(40 <= len(row[1].split()) <= 80 for row in rows)
    assert any('"' in row[1] for row in rows), "quoted quotes are part of the format"
    assert set(Counter(row[3] for row in rows).values()) == {3}
    assert any(not row[2].isascii() for row in rows)


def test_knowledge_source_holds_the_passages_and_its_anchors_point_to_their_text(folder: Path) -> None:
    pages = {p["wikipedia_id"]: p for p in lines(folder / "kilt_knowledgesource.json")}
    titles = {p["wikipedia_title"] for p in pages.values()}
    assert len(titles) == len(pages) == 300
    for row in passages(folder):
        page = pages[row[3]]
        assert page["wikipedia_title"] == row[2] and page["text"][0] == f"{row[2]}\n"
        assert page["text"][int(row[4])] == f"{row[1]}\n"
    for page in pages.values():
        for anchor in page["anchors"]:
            text = page["text"][anchor["paragraph_id"]]
            assert text[anchor["start"] : anchor["end"]] == anchor["text"]
            assert anchor["href"].replace("%20", " ") in titles


@pytest.mark.parametrize("task", TASKS)
def test_counts_and_unique_questions(folder: Path, task: str) -> None:
    train, dev = kilt(folder, task, "train"), kilt(folder, task, "dev")
    assert len(train) == (TRAIN_QUERIES // 3 if task == "aidayago2" else TRAIN_QUERIES)
    assert len(dev) == DEV_QUERIES
    texts = [r["input"] for r in train + dev]
    assert len(set(texts)) == len(texts)
    ids = [r["id"] for r in train + dev]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("task", TASKS)
def test_provenance_points_to_sentences_of_existing_pages(folder: Path, task: str) -> None:
    pages = {p["wikipedia_id"]: p for p in lines(folder / "kilt_knowledgesource.json")}
    for record in kilt(folder, task, "train") + kilt(folder, task, "dev"):
        for output in record["output"]:
            for item in output.get("provenance", []):
                page = pages[item["wikipedia_id"]]
                assert item["title"] == page["wikipedia_title"]
                if task != "aidayago2":
                    text = page["text"][item["start_paragraph_id"]]
                    sentence = text[item["start_character"] : item["end_character"]]
                    assert re.fullmatch(r"[A-ZÀ-Þ][^.]*\.", sentence), sentence


@pytest.mark.parametrize("task", TASKS)
def test_training_files_name_passages_of_the_provenance(folder: Path, task: str) -> None:
    rows = passages(folder)
    for split in ("train", "dev"):
        if task == "aidayago2" and split == "dev":
            assert not (folder / "aidayago2-dev-multikilt.json").exists()
            continue
        by_text = {r["input"]: r for r in kilt(folder, task, split)}
        found = dpr(folder, task, split)
        if split == "dev":
            assert [row["question"] for row in found] == list(by_text)
        for row in found:
            gold = set().union(*page_sets(by_text[row["question"]]), set())
            for context in row["positive_ctxs"]:
                text, title, page = rows[context["psg_id"]][1:4]
                assert (context["text"], context["title"]) == (text, title) and page in gold
            for context in row["hard_negative_ctxs"]:
                assert rows[context["psg_id"]][3] not in gold


def test_the_oddities_of_the_real_files_are_there(folder: Path) -> None:
    everything = [r for task in TASKS for r in kilt(folder, task, "train")]
    outputs = [o for r in everything for o in r["output"]]
    assert any(not page_sets(r) for r in everything)
    assert any("provenance" not in o for o in outputs)
    assert any(p.get("bleu_score", 1.0) < 0.5 for o in outputs for p in o.get("provenance", []))
    assert all(page_sets(r) for task in TASKS for r in kilt(folder, task, "dev"))
    assert all(row["positive_ctxs"] for task in TASKS for row in dpr(folder, task, "train"))
    assert any(not row["positive_ctxs"] for row in dpr(folder, "nq", "dev"))
    assert all(len(page_sets(r)[0]) == 2 for r in kilt(folder, "hotpotqa", "dev"))
    assert any(len(page_sets(r)) > 1 for r in kilt(folder, "triviaqa", "train"))


def test_styles(folder: Path) -> None:
    titles = {row[2] for row in passages(folder)}
    claims = Counter(r["output"][0]["answer"] for r in kilt(folder, "fever", "train"))
    assert set(claims) == {"SUPPORTS", "REFUTES"} and 0.3 < claims["REFUTES"] / claims.total() < 0.5
    relations = {t: {r["input"].split(" [SEP] ")[1] for r in kilt(folder, t, "train")} for t in TASKS[2:4]}
    assert len(relations["trex"]) > 10 < len(relations["structured_zeroshot"])
    initials = {re.sub(r"^(\w)\w* ", r"\1. ", title) for title in titles}
    for split in ("train", "dev"):  # both have their share of abbreviated names
        subjects = [r["input"].split(" [SEP] ")[0] for r in kilt(folder, "trex", split)]
        assert set(subjects) <= titles | initials
        assert 0.5 < sum(subject in initials for subject in subjects) / len(subjects) < 0.7
    assert all(r["input"] == r["input"].lower() for r in kilt(folder, "nq", "dev"))
    for record in kilt(folder, "wow", "dev"):
        assert record["input"].count("\n") == 2
        assert not any(title in record["input"] for title in titles)
    for record in kilt(folder, "aidayago2", "dev"):
        meta = record["meta"]
        marked = f"{meta['left_context']} [START_ENT] {meta['mention']} [END_ENT] {meta['right_context']}"
        assert record["input"] == marked


def test_texts_are_readable(folder: Path) -> None:
    texts = [row[1] for row in passages(folder)] + [r["input"] for t in TASKS for r in kilt(folder, t, "train")]
    assert not [text for text in texts if re.search(r"[{}<>]|\bNone\b|  (?! )(?<!\. {2})", text)]
    words = Counter(word for text in texts for word in re.findall(r"\w+", text.lower()))
    assert 600 < len(words) < 1_500


def bm25_page_precision(folder: Path) -> dict[str, float]:
    import bm25s
    import Stemmer

    stemmer, rows = Stemmer.Stemmer("english"), passages(folder)

    def tokens(texts: list[str]) -> Any:
        return bm25s.tokenize(texts, stemmer=stemmer, show_progress=False)

    index = bm25s.BM25(k1=0.9, b=0.4, method="lucene")
    index.index(tokens([f"{row[2]} {row[1]}" for row in rows]), show_progress=False)
    scores = {}
    for task in TASKS:
        records = kilt(folder, task, "dev")
        ranked, _ = index.retrieve(tokens([r["input"] for r in records]), k=50, show_progress=False)
        total = 0.0
        for record, found in zip(records, ranked, strict=True):
            order = list(dict.fromkeys(rows[int(i)][3] for i in found))
            total += max(len(gold & set(order[: len(gold)])) / len(gold) for gold in page_sets(record))
        scores[task] = 100 * total / len(records)
    return scores


def test_bm25_finds_some_tasks_easy_and_some_hard(folder: Path) -> None:
    scores = bm25_page_precision(folder)
    assert 40 <= sum(scores.values()) / len(scores) <= 60, scores
    assert sum(score < 40 for score in scores.values()) >= 2, scores
    assert sum(score > 60 for score in scores.values()) >= 2, scores
    assert all(10 < score < 90 for score in scores.values()), scores
