"""What the tests of the data write: JSON lines, a suite.toml, a tiny tokenizer."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
