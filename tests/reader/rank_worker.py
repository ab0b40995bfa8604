"""One of two processes that train a reader together and answer in turn."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from reader.reader_cases import example, lesson, model, texts

from mtbench.reader.answering import ReaderAnswers, answer_pieces, in_turn
from mtbench.reader.training import ReaderTrainer
from mtbench.training.ranks import Ranks, join_ranks, leave_ranks

STEPS = 5


def result(folder: Path, ranks: Ranks) -> dict[str, Any]:
    """Losses, weights and the files of answers after a few steps."""
    read = texts()
    trainer = ReaderTrainer(model(read), read, read.settings, folder / "checkpoint", ranks, torch.device("cpu"))
    trainer.run(lesson(STEPS), lambda *_: None)
    answers = ReaderAnswers(trainer.model, read, read.settings, torch.device("cpu"))
    turn = in_turn(ranks)
    for name in ("a", "b"):
        answer_pieces(8, lambda i: example(i)[0], answers, folder / name, turn)
    ranks.barrier()
    weights = torch.cat([p.detach().flatten() for p in trainer.parameters])
    return {"losses": trainer.losses, "weights": weights.double().tolist()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    ranks = join_ranks()
    found = result(Path(sys.argv[1]), ranks)
    Path(sys.argv[1], f"rank-{ranks.rank}.json").write_text(json.dumps(found))
    leave_ranks()
