"""Small folder suites and a tiny tokenizer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

QRELS_HEADER = "query-id\tcorpus-id\tscore\n"
SUITE_TOML = """\
name = "small"
version = 1
metric = "recall@100"

[corpus.docs]
path = "corpus.jsonl"

[[task]]
name = "first"
corpus = "docs"
queries = "queries.jsonl"
train_qrels = "qrels/train.tsv"
dev_qrels = "qrels/dev.tsv"
"""


def write_jsonl(path: Path, records: Iterable[Any]) -> Path:
    """One JSON value per line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    return path


@pytest.fixture
def small_suite(tmp_path: Path) -> Path:
    """A valid folder suite: four passages on two pages, three queries."""
    folder = tmp_path / "small"
    passages = [
        {
            "_id": f"p{i}",
            "title": f"Title {i}" if i else "",
            "text": f"text number {i}",
            "metadata": {"wikipedia_id": i // 2},
        }
        for i in range(4)
    ]
    write_jsonl(folder / "corpus.jsonl", passages)
    write_jsonl(folder / "queries.jsonl", [{"_id": f"q{i}", "text": f"question {i}"} for i in range(3)])
    (folder / "qrels").mkdir()
    (folder / "qrels" / "train.tsv").write_text(QRELS_HEADER + "q0\tp1\t1\nq1\tp3\t1\n")
    (folder / "qrels" / "dev.tsv").write_text(QRELS_HEADER + "q2\tp2\t1\nq2\tp0\t0\n")
    (folder / "suite.toml").write_text(SUITE_TOML)
    return folder


def tiny_tokenizer(texts: Iterable[str], vocabulary: int = 400, **special: str) -> PreTrainedTokenizerFast:
    """A byte-pair tokenizer that ends every sequence with ``</s>``."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokens = ["<pad>", "</s>", "<unk>", *special.values()]
    backend = Tokenizer(models.BPE(unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=tokens, show_progress=False)
    )
    backend.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", **special
    )


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    """Trained on a few plain words."""
    return tiny_tokenizer(["Title: Text: title text number question NQ QA 0 1 2 3 4 5 6 7 8 9 who wrote it"] * 3)


@pytest.fixture
def corrupt(small_suite: Path) -> Callable[[str, bytes], Path]:
    """Replace a file of the small suite by given bytes."""

    def replace(name: str, content: bytes) -> Path:
        (small_suite / name).write_bytes(content)
        return small_suite

    return replace
