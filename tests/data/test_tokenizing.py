"""Templates, prompts, separators and lengths."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from small_suites import tiny_tokenizer

from mtbench.data.tokenizing import TokenEncoder, passage_text, query_prefix, query_texts, separator
from mtbench.errors import ConfigError
from mtbench.suite import Task

TEXTS = ["Title: Alpha Text: one two three four five six seven", "NQ who wrote it", ""]


def test_templates() -> None:
    assert passage_text("Alpha", "one") == "Title: Alpha Text: one"
    assert passage_text("", "one") == "Text: one"


def test_the_separator_is_the_tokenizers_own() -> None:
    assert separator(tiny_tokenizer(TEXTS)) == "</s>"
    assert separator(tiny_tokenizer(TEXTS, sep_token="[SEP]")) == "[SEP]"
    bare = tiny_tokenizer(TEXTS)
    bare.eos_token = None
    with pytest.raises(ConfigError, match="neither a separator nor an end token"):
        separator(bare)


def test_prompts() -> None:
    task = Task("nq", "c", "q", "t", "d", family="fact_checking", prompt="NQ")
    assert [query_prefix(task, mode, "</s>") for mode in ("task", "family", "none")] == ["NQ </s> ", "FACT </s> ", ""]  # type: ignore[arg-type]
    assert query_prefix(Task("my", "c", "q", "t", "d"), "task", "|") == "MY | "


def test_a_literal_separator_becomes_the_tokenizers() -> None:
    assert query_texts(["a [SEP] b", "c"], "P </s> ", "</s>") == ["P </s> a </s> b", "P </s> c"]
    tokenizer = tiny_tokenizer([*TEXTS, "a b"])
    encoder = TokenEncoder.of(tokenizer)
    ids = encoder.encode(query_texts(["a [SEP] b"], "NQ </s> ", "</s>"), 50)[0]
    assert ids.count(tokenizer.eos_token_id) == 3  # after the prompt, inside, at the end


@pytest.mark.parametrize("length", [2, 5, 1000])
def test_ids_are_those_of_the_tokenizer(length: int) -> None:
    tokenizer = tiny_tokenizer(TEXTS)
    encoder = TokenEncoder.of(tokenizer)
    expected = tokenizer(TEXTS, truncation=True, max_length=length)["input_ids"]
    assert encoder.encode(TEXTS, length) == [list(ids) for ids in expected]
    assert all(len(ids) <= length and ids[-1] == tokenizer.eos_token_id for ids in encoder.encode(TEXTS, length))


def test_it_travels_to_a_worker() -> None:
    encoder = TokenEncoder.of(tiny_tokenizer(TEXTS))
    first = encoder.encode(TEXTS, 9)
    assert pickle.loads(pickle.dumps(encoder)).encode(TEXTS, 9) == first
    assert (encoder.count("NQ </s>") == len(first[1]) and encoder.count("") == 0) or encoder.count("") == 0


@pytest.mark.parametrize(("vocabulary", "dtype"), [(1000, np.uint16), (65_536, np.uint16), (65_537, np.uint32)])
def test_the_width_of_an_id(vocabulary: int, dtype: type) -> None:
    assert TokenEncoder("{}", vocabulary).dtype == dtype


def test_a_tokenizer_with_habits_of_its_own_is_refused() -> None:
    tokenizer = tiny_tokenizer(TEXTS)

    class Shouting(type(tokenizer)):  # type: ignore[misc]
        def __call__(self, *args: object, **kwargs: object) -> object:
            ids = super().__call__(*args, **kwargs)
            ids["input_ids"] = [[7, *row] for row in ids["input_ids"]]
            return ids

    tokenizer.__class__ = Shouting
    with pytest.raises(ConfigError, match="outside its fast backend"):
        TokenEncoder.of(tokenizer)
