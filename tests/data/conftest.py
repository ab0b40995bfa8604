"""Small folder suites and a tiny tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from small_suites import QRELS_HEADER, SUITE_TOML, tiny_tokenizer, write_jsonl

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


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
