"""What the reader reads and writes: a query and its passages as one sequence of token ids, and an answer as another.

The sequence is the query (behind the task's prompt where tasks share a reader) and each passage with its title, best
first, as in Maillard et al. (ACL 2021, section 4.5). Each part is cut to its own length, so that a long query or
passage never crowds out what follows. Of a dialogue the end is kept, which is what an answer is wanted to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mtbench.config import ReaderConfig

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

IGNORED = -100
"""The label of what pads an answer: it has no loss."""
QUESTION, TITLE, CONTEXT = "question:", "title:", "context:"
KEEPS_END = ("dialogue",)
"""Families of tasks whose queries are cut at the beginning."""
REMEMBERED = 50_000
"""Passages whose tokens are kept: a small corpus is read many times."""


@dataclass(frozen=True)
class Asked:
    """A query: its text, the prompt of its task (empty where each task has its own reader), and the passages."""

    text: str
    prompt: str
    passages: Sequence[tuple[str, str]]
    """Title and text, best first."""
    keeps_end: bool = False


@dataclass
class ReaderTexts:
    """Turns queries, passages and answers into token ids with one tokenizer, and ids into answers."""

    tokenizer: PreTrainedTokenizerFast
    settings: ReaderConfig
    _passages: dict[tuple[str, str], list[int]] = field(default_factory=dict, repr=False)

    @cached_property
    def around(self) -> tuple[list[int], list[int]]:
        """The special tokens that the tokenizer puts before and behind a text."""
        plain = self._ids("a")
        whole = list(self.tokenizer("a")["input_ids"])
        start = next(i for i in range(len(whole)) if whole[i : i + len(plain)] == plain)
        return whole[:start], whole[start + len(plain) :]

    def source(self, asked: Asked) -> list[int]:
        """The ids of a query and its passages, special tokens included."""
        before, after = self.around
        ids = self._ids(f"{asked.prompt} {QUESTION}" if asked.prompt else QUESTION)
        query, length = self._ids(f" {asked.text}"), self.settings.query_length
        ids += query[-length:] if asked.keeps_end else query[:length]
        for passage in asked.passages:
            ids += self._passage(passage)
        return [*before, *ids, *after]

    def target(self, answer: str) -> list[int]:
        """The ids of an answer, special tokens included, cut to ``answer_length``."""
        before, after = self.around
        room = max(1, self.settings.answer_length - len(before) - len(after))
        return [*before, *self._ids(answer)[:room], *after]

    def answer(self, ids: Sequence[int]) -> str:
        """The text of generated ids."""
        return str(
            self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        ).strip()

    def sources(self, asked: Sequence[Asked]) -> tuple[Tensor, Tensor]:
        """Ids and mask of several queries, ``(B, L)`` each."""
        return padded([self.source(one) for one in asked], self.padding)

    def targets(self, answers: Sequence[str]) -> Tensor:
        """Labels ``(B, L)``, :data:`IGNORED` where they pad."""
        ids, mask = padded([self.target(one) for one in answers], self.padding)
        return ids.masked_fill(mask == 0, IGNORED)

    @property
    def padding(self) -> int:
        """The id that fills up short sequences."""
        found: Any = self.tokenizer.pad_token_id
        return int(found or 0)

    def _passage(self, passage: tuple[str, str]) -> list[int]:
        known = self._passages.get(passage)
        if known is None:
            title, text = passage
            known = self._ids(f" {TITLE} {title} {CONTEXT} {text}" if title else f" {CONTEXT} {text}")
            known = known[: self.settings.passage_length]
            if len(self._passages) < REMEMBERED:
                self._passages[passage] = known
        return known

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])


def padded(rows: Sequence[Sequence[int]], padding: int) -> tuple[Tensor, Tensor]:
    """Rows of different lengths as one tensor ``(B, L)``, and 1 where there is something."""
    longest = max(map(len, rows))
    ids = torch.full((len(rows), longest), padding, dtype=torch.long)
    mask = torch.zeros((len(rows), longest), dtype=torch.long)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = torch.tensor(row, dtype=torch.long)
        mask[place, : len(row)] = 1
    return ids, mask
