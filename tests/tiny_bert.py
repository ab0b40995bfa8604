"""A random BERT as a folder that transformers loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def write_bert(folder: Path, tokenizer: Any) -> Path:
    """Write configuration, weights and ``tokenizer`` into ``folder`` and return it."""
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(str(folder))
    return folder
