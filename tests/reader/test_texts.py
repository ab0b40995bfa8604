"""What the reader reads and writes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from reader.reader_cases import SENTENCES, SETTINGS, example, texts, write_bart

from mtbench.reader.model import load_reader_tokenizer
from mtbench.reader.texts import IGNORED, Asked, ReaderTexts


def test_a_query_comes_first_then_its_passages_in_order() -> None:
    read = texts()
    asked, _ = example(2)
    text = read.tokenizer.decode(read.source(asked), skip_special_tokens=True)
    expected = f"ASK question: {asked.text} " + " ".join(f"context: {t}" for _, t in asked.passages)
    assert text == expected
    titled = dataclasses.replace(asked, prompt="", passages=[("Cork", "lives in Cork")])
    text = read.tokenizer.decode(read.source(titled), skip_special_tokens=True)
    assert text == f"question: {asked.text} title: Cork context: lives in Cork"
    assert read.source(asked)[-1] == read.tokenizer.eos_token_id


def test_each_part_is_cut_by_itself() -> None:
    read = texts(SETTINGS.model_copy(update={"query_length": 4, "passage_length": 8}))
    asked = Asked("where lives the keeper of lamp 2", "", [("", "lamp " * 40), ("", "Cork")])
    text = read.tokenizer.decode(read.source(asked), skip_special_tokens=True)
    assert text.startswith("question: where lives the keeper context:") and text.endswith("context: Cork")
    text = read.tokenizer.decode(read.source(dataclasses.replace(asked, keeps_end=True)), skip_special_tokens=True)
    assert text.startswith("question: keeper of lamp 2 context:"), "the end of a dialogue is what is asked"


@pytest.mark.parametrize("answer", ["Arden", "Don't; stop", "the keeper of lamp 2", "go on?"])
def test_answers_come_back_letter_by_letter(answer: str) -> None:
    read = texts(SETTINGS.model_copy(update={"answer_length": 64}))
    assert read.answer(read.target(answer)) == answer


def test_signs_on_both_sides_are_put_once(tmp_path: Path) -> None:
    folder = write_bart(tmp_path / "bart", SENTENCES)
    read = ReaderTexts(load_reader_tokenizer(folder), SETTINGS)
    asked, answer = example(2)
    source, target = read.source(asked), read.target(answer)
    assert (source[0], source[-1], target[0], target[-1]) == (0, 2, 0, 2)
    assert not {0, 2} & {*source[1:-1], *target[1:-1]}
    assert read.answer([2, *target, 1]) == answer
    text = read.tokenizer.decode(source, skip_special_tokens=True)
    assert text.startswith(f"ASK question: {asked.text} context: The keeper")


def test_labels_ignore_what_pads() -> None:
    read = texts()
    labels = read.targets(["Arden", "the keeper of lamp"])
    short = read.target("Arden")
    assert labels[0, : len(short)].tolist() == short
    assert (labels[0, len(short) :] == IGNORED).all() and (labels[1] != IGNORED).all()
    assert len(read.target("lamp " * 30)) == SETTINGS.answer_length
