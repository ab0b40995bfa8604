"""Answers of a trained reader, in pieces that ranks share and that a run that was stopped finds again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from mtbench import interrupts
from mtbench.config import ReaderConfig
from mtbench.reader.texts import Asked, ReaderTexts
from mtbench.storage.atomic import read_json, write_json
from mtbench.training.ranks import Ranks

PIECE = 512
"""Queries of a piece; part of no figure."""
BATCH = 32
"""Queries that are answered together."""
NOTHING = "-"
"""What stands for an empty answer, which KILT's script refuses."""


class ReaderAnswers:
    """Answers queries with ``model``, which stays as it is."""

    def __init__(self, model: Any, texts: ReaderTexts, settings: ReaderConfig, device: torch.device) -> None:
        self.model, self.texts, self.settings, self.device = model.to(device).eval(), texts, settings, device

    def answer(self, asked: Sequence[Asked]) -> list[str]:
        """An answer to each query, decoded greedily or with ``reader.beams`` beams."""
        found: list[str] = []
        for start in range(0, len(asked), BATCH):
            interrupts.check()
            ids, mask = self.texts.sources(asked[start : start + BATCH])
            with torch.inference_mode(), self._autocast():
                made = self.model.generate(
                    input_ids=ids.to(self.device),
                    attention_mask=mask.to(self.device),
                    max_new_tokens=self.settings.answer_length,
                    num_beams=self.settings.beams,
                    do_sample=False,
                    use_cache=_can_cache(self.model.config),
                )
            found += [self.texts.answer(row.tolist()) or NOTHING for row in made]
        return found

    def _autocast(self) -> Any:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.precision == "bf16")


def answer_pieces(
    count: int, query: Callable[[int], Asked], answers: ReaderAnswers, folder: Path, turn: Callable[[int], bool]
) -> None:
    """Write the answers to queries ``0 .. count - 1`` as ``piece-N.json``; of pieces that are there none again.

    ``turn(n)``: whether piece n is this process's own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number, start in enumerate(range(0, count, PIECE)):
        file = folder / f"piece-{number:05d}.json"
        if turn(number) and not file.is_file():
            write_json(file, answers.answer([query(i) for i in range(start, min(start + PIECE, count))]))


def read_pieces(folder: Path) -> list[str]:
    """All answers of :func:`answer_pieces`, in order."""
    return [answer for file in sorted(folder.glob("piece-*.json")) for answer in read_json(file)]


def in_turn(ranks: Ranks) -> Callable[[int], bool]:
    """Pieces go round the ranks, over all calls together."""
    given = iter(range(1 << 62))
    return lambda number: next(given) % ranks.size == ranks.rank


def _can_cache(config: Any) -> bool:
    """transformers makes its cache for as many layers as the encoder has; a decoder with more finds none."""
    decoder = getattr(config, "num_decoder_layers", None) or getattr(config, "decoder_layers", None)
    return decoder is None or decoder <= config.num_hidden_layers
