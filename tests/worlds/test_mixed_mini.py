"""The generated suite ``mixed``: the four raw formats, judgements that point somewhere, and BM25's recall."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from test_kilt_mini import hashes, lines

from mtbench.worlds.mixed_mini import DEV_QUERIES, TRAIN_QUERIES, generate
from mtbench.worlds.mixed_zeshel import CANDIDATES, COUNTS, WORLDS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mixed")
    generate(folder, seed=0)
    return folder


def table(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]


def test_same_seed_same_bytes_other_seed_other_bytes(folder: Path, tmp_path: Path) -> None:
    generate(tmp_path / "again", seed=0)
    generate(tmp_path / "other", seed=1)
    first, again, other = (hashes(f) for f in (folder, tmp_path / "again", tmp_path / "other"))
    assert first == again
    assert set(first) == set(other) and not any(first[name] == other[name] for name in first)


def test_msmarco(folder: Path) -> None:
    collection = table(folder / "msmarco" / "collection.tsv")
    titles = table(folder / "msmarco" / "para.title.txt")
    assert len(collection) > 1_000 and {len(row) for row in collection + titles} == {2}
    assert [row[0] for row in collection] == [row[0] for row in titles]
    passages, texts = {row[0] for row in collection}, []
    for split, count in (("train", TRAIN_QUERIES), ("dev.small", DEV_QUERIES)):
        queries = dict(table(folder / "msmarco" / f"queries.{split}.tsv"))
        qrels = table(folder / "msmarco" / f"qrels.{split}.tsv")
        assert len(queries) == count
        assert {row[0] for row in qrels} == set(queries) and {row[2] for row in qrels} <= passages
        assert {(row[1], row[3]) for row in qrels} == {("0", "1")}
        texts += list(queries.values())
    assert len(set(texts)) == len(texts)


def test_fever(folder: Path) -> None:
    corpus = {d["_id"]: d for d in lines(folder / "fever" / "corpus.jsonl")}
    queries = {q["_id"]: q["text"] for q in lines(folder / "fever" / "queries.jsonl")}
    assert len(corpus) > 800 and len(set(queries.values())) == len(queries)
    seen: set[str] = set()
    for split in ("train", "dev", "test"):
        header, *rows = table(folder / "fever" / "qrels" / f"{split}.tsv")
        assert header == ["query-id", "corpus-id", "score"]
        judged = {row[0] for row in rows}
        assert judged <= set(queries) and not judged & seen
        assert {row[1] for row in rows} <= set(corpus) and {row[2] for row in rows} == {"1"}
        assert len(rows) > len(judged), "some claims need two pages"
        seen |= judged
    assert seen == set(queries)


def test_nq(folder: Path) -> None:
    with (folder / "nq" / "psgs_w100.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t"))[1:]
    records = lines(folder / "nq" / "nq-dev-kilt.jsonl")
    positives = json.loads((folder / "nq" / "nq-dev-multikilt.json").read_text())
    assert [r["input"] for r in records] == [p["question"] for p in positives]
    for record, row in zip(records, positives, strict=True):
        pages = {p["wikipedia_id"] for o in record["output"] for p in o.get("provenance", [])}
        assert {rows[c["psg_id"]][3] for c in row["positive_ctxs"]} <= pages


def test_zeshel(folder: Path) -> None:
    documents: dict[str, dict[str, dict[str, Any]]] = {}
    for world in (name for names in WORLDS.values() for name in names):
        found = lines(folder / "zeshel" / "documents" / f"{world}.json")
        documents[world] = {d["document_id"]: d for d in found}
    ids: set[str] = set()
    labels: dict[str, set[str]] = {}
    for split, count in COUNTS.items():
        mentions = lines(folder / "zeshel" / "mentions" / f"{split}.json")
        candidates = lines(folder / "zeshel" / "tfidf_candidates" / f"{split}.json")
        assert len(mentions) == count
        assert [m["mention_id"] for m in mentions] == [c["mention_id"] for c in candidates]
        assert {m["corpus"] for m in mentions} <= set(WORLDS[split if split in WORLDS else "train"])
        labels[split] = {m["label_document_id"] for m in mentions}
        for mention, candidate in zip(mentions, candidates, strict=True):
            world = documents[mention["corpus"]]
            tokens = world[mention["context_document_id"]]["text"].split()
            assert " ".join(tokens[mention["start_index"] : mention["end_index"] + 1]) == mention["text"]
            assert mention["label_document_id"] in world
            assert len(set(candidate["tfidf_candidates"])) == CANDIDATES
            assert set(candidate["tfidf_candidates"]) <= set(world)
        found_ids = {m["mention_id"] for m in mentions}
        assert len(found_ids) == count and not found_ids & ids
        ids |= found_ids
    assert labels["heldout_train_seen"] <= labels["train"]
    assert not labels["heldout_train_unseen"] & labels["train"]
    assert not labels["val"] & labels["train"] and not labels["test"] & labels["train"]


def test_recall_at_100_of_bm25_leaves_room(folder: Path) -> None:
    import bm25s
    import Stemmer

    stemmer = Stemmer.Stemmer("english")
    collection = table(folder / "msmarco" / "collection.tsv")
    titles = dict(table(folder / "msmarco" / "para.title.txt"))
    index = bm25s.BM25(k1=0.9, b=0.4, method="lucene")
    texts = [f"{titles[name]} {text}" for name, text in collection]
    index.index(bm25s.tokenize(texts, stemmer=stemmer, show_progress=False), show_progress=False)
    queries = dict(table(folder / "msmarco" / "queries.dev.small.tsv"))
    gold = {row[0]: row[2] for row in table(folder / "msmarco" / "qrels.dev.small.tsv")}
    tokens = bm25s.tokenize(list(queries.values()), stemmer=stemmer, show_progress=False)
    ranked, _ = index.retrieve(tokens, k=100, show_progress=False)
    found = [gold[q] in {collection[int(i)][0] for i in row} for q, row in zip(queries, ranked, strict=True)]
    assert 0.6 < sum(found) / len(found) < 0.92
