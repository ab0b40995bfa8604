"""A folder suite in KILT's formats with answers, small enough to read in a second: two tasks over one corpus.

Every passage says one thing of one place; ``ask`` wants the word, ``claim`` a verdict.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tiny_suite import WORDS

SETTINGS = (
    "reader.hidden=16",
    "reader.heads=2",
    "reader.feed_forward=16",
    "reader.decoder_layers=2",
    "reader.vocabulary=256",
    "reader.steps=4",
    "reader.start_steps=2",
    "reader.batch_size=6",
    "reader.passages=2",
    "reader.answer_length=6",
    "reader.checkpoint_every=2",
)
_TOML = """name = "tinykilt"
version = 1
metric = "rprecision_page"

[corpus.main]
path = "corpus.jsonl"
passage_max_length = 48
"""
_TASK = """
[[task]]
name = "{name}"
title = "{title}"
family = "{family}"
corpus = "main"
format = "kilt"
queries = "{name}-train.json"
train_qrels = "{name}-train.json"
dev_qrels = "{name}-dev.json"
kilt_dev = "{name}-dev-kilt.jsonl"
prompt = "{prompt}"
query_max_length = 24
"""


def word(passage: int) -> str:
    """What passage ``passage`` says of its place."""
    return WORDS[(3 * passage + 1) % 16]


def write_kilt_suite(folder: Path, passages: int = 40, queries: int = 36) -> Path:
    """Write the suite and return its folder; every fourth query is of dev."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "_id": str(i),
            "title": f"{WORDS[i % 16].title()} {i // 2}",
            "text": f"The {word(i)} is seen from place {i}.",
            "metadata": {"wikipedia_id": str(i // 2)},
        }
        for i in range(passages)
    ]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    text = _TOML
    for number, (name, family) in enumerate((("ask", "qa"), ("claim", "fact_checking"))):
        text += _TASK.format(name=name, title=name.title(), family=family, prompt=name.upper())
        asked = [_query(name, j, (5 * j + 7 * number) % passages) for j in range(queries)]
        dev = [q for j, q in enumerate(asked) if j % 4 == 0]
        _write_json(folder / f"{name}-train.json", [_row(q) for j, q in enumerate(asked) if j % 4])
        _write_json(folder / f"{name}-dev.json", [_row(q) for q in dev])
        lines = [json.dumps(_record(name, j, q)) for j, q in enumerate(dev)]
        (folder / f"{name}-dev-kilt.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "suite.toml").write_text(text, encoding="utf-8")
    return folder


def _query(task: str, number: int, passage: int) -> tuple[str, list[str], int]:
    """Text, answers and passage."""
    if task == "ask":
        return f"what is seen from place {passage} {number}", [word(passage).title(), word(passage)], passage
    is_true = number % 3 > 0
    said = word(passage) if is_true else word(passage + 1)
    return f"{said} is seen from place {passage} {number}", ["SUPPORTS" if is_true else "REFUTES"], passage


def _row(query: tuple[str, list[str], int]) -> dict[str, Any]:
    text, answers, passage = query
    context = {"psg_id": str(passage), "title": "", "text": ""}
    return {"question": text, "answers": answers, "positive_ctxs": [context]}


def _record(task: str, number: int, query: tuple[str, list[str], int]) -> dict[str, Any]:
    text, answers, passage = query
    provenance = [{"wikipedia_id": str(passage // 2), "title": "x", "bleu_score": 1.0}]
    output = [{"answer": answers[0], "provenance": provenance}, *({"answer": a} for a in answers[1:])]
    return {"id": f"{task}-{number}", "input": text, "output": output}


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")
