"""Text templates and token ids of passages and queries (the pipeline's section on text).

A passage is ``Title: <title> Text: <text>``, without the title part if there is no title. A query is
``<PROMPT> <separator> <query>`` with the tokenizer's own separator; a literal ``[SEP]`` inside a query becomes that
separator too. Train and dev queries are treated alike. Token ids are final: special tokens are in.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from mtbench.errors import ConfigError
from mtbench.suite import Task

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

PromptMode = Literal["task", "family", "encoder", "none"]
ENCODER_PROMPT = "encoder_prompt"
"""Option of a task and of a corpus: what the encoder itself wants before each text (``prompt="encoder"``)."""
FAMILY_PROMPTS = {
    "qa": "QA",
    "fact_checking": "FACT",
    "slot_filling": "SLOT",
    "entity_linking": "ENTITY",
    "dialogue": "DIALOGUE",
    "ad_hoc": "SEARCH",
}
LITERAL_SEPARATOR = "[SEP]"
BATCH = 1000


def passage_text(title: str, text: str) -> str:
    """What the encoder sees of a passage."""
    return f"Title: {title} Text: {text}" if title else f"Text: {text}"


def separator(tokenizer: PreTrainedTokenizerFast) -> str:
    """The tokenizer's separator: its ``sep_token``, else its ``eos_token``; ConfigError if it has neither."""
    token = tokenizer.sep_token or tokenizer.eos_token
    if not token:
        raise ConfigError(
            "the encoder's tokenizer has neither a separator nor an end token, which queries need\n"
            "  Set sep_token in its tokenizer_config.json, or choose another encoder."
        )
    return str(token)


def query_prefix(task: Task, mode: PromptMode, sep: str) -> str:
    """``<PROMPT> <separator> `` for a task, the encoder's own in the mode ``encoder``, nothing in the mode ``none``."""
    if mode == "none":
        return ""
    if mode == "encoder":
        return str(task.options.get(ENCODER_PROMPT, ""))
    prompt = FAMILY_PROMPTS[task.family] if mode == "family" else (task.prompt or task.name.upper())
    return f"{prompt} {sep} "


class TokenEncoder:
    """A tokenizer in the form that travels to a worker process: its JSON text and the width of an id.

    ``encode`` returns ids cut to ``max_length``, special tokens included and counted.
    """

    def __init__(self, definition: str, vocabulary: int) -> None:
        self.definition = definition
        self.dtype = np.dtype(np.uint16 if vocabulary <= 1 << 16 else np.uint32)
        self.passage_prompt = ""

    def before_passages(self, prompt: str) -> TokenEncoder:
        """The same with ``prompt`` before each passage."""
        other = copy.copy(self)
        other.passage_prompt = prompt
        return other

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerFast) -> TokenEncoder:
        """The encoder of a transformers tokenizer; ConfigError if it does more than its backend."""
        encoder = cls(tokenizer.backend_tokenizer.to_str(), len(tokenizer))
        probe = ["Title: A Text: the first probe", f"nq {separator(tokenizer)} who"]
        theirs = tokenizer(probe)["input_ids"]
        if [list(ids) for ids in encoder.encode(probe, 1 << 20)] != [list(ids) for ids in theirs]:
            raise ConfigError(
                f"{type(tokenizer).__name__} changes the ids outside its fast backend, which mtbench relies on\n"
                "  Save it as a fast tokenizer (tokenizer.json) first."
            )
        return encoder

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "backend"}

    @cached_property
    def backend(self) -> Tokenizer:
        """The tokenizer itself, made on first use in each process."""
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_str(self.definition)
        tokenizer.no_padding()
        return tokenizer

    def encode(self, texts: Sequence[str], max_length: int) -> list[list[int]]:
        """Token ids of each text."""
        backend = self.backend
        backend.enable_truncation(max_length)
        ids: list[list[int]] = []
        for start in range(0, len(texts), BATCH):  # an Encoding is some 100 times its ids: few at a time
            ids.extend(e.ids for e in backend.encode_batch_fast(list(texts[start : start + BATCH])))
        return ids

    def encode_passages(self, titles: Sequence[str], texts: Sequence[str], max_length: int) -> list[list[int]]:
        """Token ids of each passage."""
        pairs = zip(titles, texts, strict=True)
        return self.encode([self.passage_prompt + passage_text(*pair) for pair in pairs], max_length)

    def count(self, text: str) -> int:
        """Tokens of ``text`` without the special tokens around it."""
        self.backend.no_truncation()
        return len(self.backend.encode(text, add_special_tokens=False).ids)


def query_texts(texts: Sequence[str], prefix: str, sep: str) -> list[str]:
    """Queries as the encoder sees them."""
    return [prefix + text.replace(LITERAL_SEPARATOR, sep) for text in texts]
