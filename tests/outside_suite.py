"""A suite folder of two tasks over one corpus: ``nq`` with gold pages, ``doc`` without."""

from __future__ import annotations

import json
from pathlib import Path

TOML = """\
name = "small"
version = 2
metric = "{metric}"

[corpus.wiki]
path = "corpus.jsonl"

[[task]]
name = "nq"
title = "Questions"
corpus = "wiki"
queries = "nq/queries.jsonl"
train_qrels = "nq/train.tsv"
dev_qrels = "nq/dev.tsv"
kilt_dev = "nq/dev-kilt.jsonl"

[[task]]
name = "doc"
title = "Documents"
corpus = "wiki"
queries = "doc/queries.jsonl"
train_qrels = "doc/train.tsv"
dev_qrels = "doc/dev.tsv"
"""


def write_suite(folder: Path, metric: str = "recall@100") -> Path:
    """Twelve passages of six pages; dev queries 1 and 2 in both tasks; query 1 has two gold pages in ``nq``."""
    passages = [
        {
            "_id": f"p{i}",
            "title": f"T{i // 2}",
            "text": f"text {i}",
            "metadata": {"wikipedia_id": str(i // 2)},
        }
        for i in range(12)
    ]
    _lines(folder / "corpus.jsonl", passages)
    (folder / "suite.toml").write_text(TOML.format(metric=metric))
    for task in ("nq", "doc"):
        _lines(folder / task / "queries.jsonl", [{"_id": str(i), "text": f"query {i}"} for i in range(4)])
        for split, rows in {"train": ["3\tp1\t1"], "dev": ["1\tp0\t1", "1\tp2\t1", "2\tp10\t1"]}.items():
            text = "query-id\tcorpus-id\tscore\n" + "\n".join(rows) + "\n"
            (folder / task / f"{split}.tsv").write_text(text)
    gold = [
        {
            "id": "1",
            "output": [{"provenance": [{"wikipedia_id": "0"}, {"wikipedia_id": "1"}]}, {"answer": "x"}],
        },
        {
            "id": "2",
            "output": [{"provenance": [{"wikipedia_id": 5}]}, {"provenance": [{"wikipedia_id": "999"}]}],
        },
    ]
    _lines(folder / "nq" / "dev-kilt.jsonl", gold)
    return folder


def write_systems(folder: Path) -> Path:
    """Runs of an outside system: for ``nq`` one right page of two for query 1, for ``doc`` query 1 all right."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "nq.trec").write_text("1 Q0 p1 1 9 x\n1 Q0 p0 2 8 x\n1 Q0 p7 3 7 x\n2 Q0 p3 1 5 x\n2 Q0 p11 2 5 x\n")
    (folder / "doc.trec").write_text("1 Q0 p0 1 3 x\n1 Q0 p2 2 2 x\n")
    return folder


def _lines(path: Path, records: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
