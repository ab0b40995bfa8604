"""A folder suite small enough to train on in a second: three tasks over one corpus, with two-page gold sets."""

from __future__ import annotations

import json
from pathlib import Path

WORDS = [
    "amber",
    "birch",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "grove",
    "heron",
    "inlet",
    "jasper",
    "kelp",
    "larch",
    "maple",
    "north",
    "ocean",
    "pine",
]
SETTINGS = (
    "encoder.hidden=16",
    "encoder.heads=2",
    "encoder.feed_forward=32",
    "encoder.vocabulary=256",
    "train.batch_size=12",
    "train.warmup_steps=6",
    "train.steps=4",
    "train.episodes=2",
    "train.log_every=2",
    "train.cosines_every=3",
    "train.checkpoint_every=2",
    "data.selection_queries=4",
    "negatives.depth=[0, 10]",
    "negatives.per_query=5",
    "search.depth=20",
)


def write_suite(folder: Path, passages: int = 48, queries: int = 40) -> Path:
    """Write the suite and return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "_id": f"p{i:03d}",
            "title": f"{WORDS[i % 16].title()} {i // 2}",
            "text": f"The {WORDS[i % 16]} of number {i} lies near the {WORDS[(3 * i + 1) % 16]}"
            f" and the {WORDS[(7 * i) % 16]}.",
            "metadata": {"wikipedia_id": str(i // 2)},
        }
        for i in range(passages)
    ]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    lines = ['name = "tiny"', "version = 1", 'metric = "rprecision_page"', "", "[corpus.main]", 'path = "corpus.jsonl"']
    lines.append("passage_max_length = 48")
    for number, task in enumerate(("ask", "claim", "slot")):
        _write_task(folder / task, task, number, passages, queries)
        lines += ["", "[[task]]", f'name = "{task}"', f'title = "{task.title()}"', 'family = "qa"', 'corpus = "main"']
        lines += [
            f'queries = "{task}/queries.jsonl"',
            f'train_qrels = "{task}/train.tsv"',
            f'dev_qrels = "{task}/dev.tsv"',
        ]
        lines += [f'kilt_dev = "{task}/dev-kilt.jsonl"', f'prompt = "{task.upper()}"', "query_max_length = 24"]
    (folder / "suite.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def _write_task(folder: Path, task: str, number: int, passages: int, queries: int) -> None:
    folder.mkdir(exist_ok=True)
    texts, train, dev, gold = [], ["query-id\tcorpus-id\tscore"], ["query-id\tcorpus-id\tscore"], []
    for j in range(queries):
        target = (j * 5 + number * 7) % passages
        query = f"{task}-{j}"
        words = f"{WORDS[target % 16]} {target} {WORDS[(3 * target + 1) % 16]}"
        texts.append(json.dumps({"_id": query, "text": f"where is {words}" if number else f"{words} [SEP] place"}))
        (dev if j % 4 == 0 else train).append(f"{query}\tp{target:03d}\t1")
        if j % 4 == 0:
            provenance = [{"wikipedia_id": str(target // 2), "title": "x"}]
            gold.append(
                json.dumps({"id": query, "input": words, "output": [{"answer": "x", "provenance": provenance}]})
            )
    (folder / "queries.jsonl").write_text("\n".join(texts) + "\n", encoding="utf-8")
    (folder / "train.tsv").write_text("\n".join(train) + "\n", encoding="utf-8")
    (folder / "dev.tsv").write_text("\n".join(dev) + "\n", encoding="utf-8")
    (folder / "dev-kilt.jsonl").write_text("\n".join(gold) + "\n", encoding="utf-8")
