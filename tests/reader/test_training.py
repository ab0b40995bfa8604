"""Training: order, length, learning to copy, going on, and two processes that are one."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from reader import rank_worker
from reader.reader_cases import SEEN, SETTINGS, example, lesson, model, texts
from training.test_ranks import start_ranks

from mtbench.reader.answering import NOTHING, ReaderAnswers, read_pieces
from mtbench.reader.training import ReaderTrainer, batch_rows, cut, steps_of
from mtbench.training.ranks import Ranks

CPU = torch.device("cpu")


def test_every_round_has_each_example_once_in_another_order() -> None:
    rows = np.concatenate([batch_rows(lesson(9), step, 9) for step in range(16)])
    rounds = rows.reshape(3, 48)
    assert all(sorted(r) == list(range(48)) for r in rounds.tolist())
    assert len({tuple(r) for r in rounds.tolist()}) == 3
    assert (batch_rows(lesson(9), 5, 9) == rows[45:54]).all(), "the sixth batch lies in two rounds"
    assert not (batch_rows(lesson(9, seed=1), 0, 9) == rows[:9]).all()


def test_length_in_steps_or_in_epochs() -> None:
    assert steps_of(SETTINGS.model_copy(update={"epochs": 1.5}), 9) == 4
    assert steps_of(SETTINGS.model_copy(update={"epochs": 1.5, "steps": 7}), 9) == 7


def test_a_tiny_reader_learns_to_copy_from_passages(tmp_path: Path) -> None:
    read = texts(SETTINGS.model_copy(update={"lr": 0.01, "batch_size": 8}))
    trainer = ReaderTrainer(model(read), read, read.settings, tmp_path / "checkpoint", Ranks(), CPU)
    last = trainer.run(lesson(120), lambda *_: None)
    assert last < trainer.losses[0] / 4
    answers = ReaderAnswers(trainer.model, read, read.settings, CPU)
    new = [example(number) for number in range(SEEN, 64)]
    said = answers.answer([asked for asked, _ in new])
    right = sum(answer == place for answer, (_, place) in zip(said, new, strict=True))
    assert right >= 12, f"of 16 pairs that were never seen {right} are right; by chance 2: {said}"


def test_an_empty_answer_is_a_sign(tmp_path: Path) -> None:
    read = texts()
    silent = ReaderAnswers(model(read), read, read.settings, CPU)
    read.answer = lambda ids: ""  # type: ignore[method-assign]
    assert silent.answer([example(0)[0]]) == [NOTHING]


def test_passages_can_be_held_back() -> None:
    asked, _ = example(1)
    assert cut(asked, None) is asked and cut(asked, 5) is asked
    assert list(cut(asked, 0).passages) == [] and list(cut(asked, 1).passages) == list(asked.passages[:1])


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of what two processes left."""
    folder = tmp_path_factory.mktemp("reader-ranks")
    tests = Path(__file__).resolve().parents[1]
    places = os.pathsep.join([str(tests), str(tests.parent)])
    processes = start_ranks([str(Path(rank_worker.__file__)), str(folder)], PYTHONPATH=places)
    try:
        for process in processes:
            _, errors = process.communicate(timeout=300)
            assert process.returncode == 0, errors
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    return folder


def test_two_processes_train_and_answer_as_one(together: Path, tmp_path: Path) -> None:
    alone = rank_worker.result(tmp_path, Ranks())
    first, second = (json.loads((together / f"rank-{r}.json").read_text()) for r in (0, 1))
    assert first == second
    assert first["losses"] == pytest.approx(alone["losses"], abs=1e-5)
    assert np.abs(np.array(first["weights"]) - np.array(alone["weights"])).max() < 1e-4
    for name in ("a", "b"):
        assert read_pieces(together / name) == read_pieces(tmp_path / name)
