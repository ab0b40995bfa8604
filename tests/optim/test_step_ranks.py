"""Two gloo processes with half of every batch train as one with the whole, with and without torch's own wrapper."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from optim import step_worker
from optim.step_worker import METHODS, ROWS, WAYS, halves, train
from training.test_ranks import start_ranks


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two processes left their parameters, by method, way and rank."""
    folder = tmp_path_factory.mktemp("ranks")
    processes = start_ranks([str(Path(step_worker.__file__)), str(folder)])
    try:
        for process in processes:
            _, errors = process.communicate(timeout=300)
            assert process.returncode == 0, errors
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    return folder


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", METHODS)
def test_two_processes_train_as_one(folder: Path, method: str, way: str) -> None:
    first, second = (torch.load(folder / f"{method}-{way}-{rank}.pt") for rank in (0, 1))
    assert torch.equal(first, second)
    torch.testing.assert_close(first, train(method, [slice(0, ROWS)]), rtol=0, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_accumulated_halves_are_the_whole(method: str) -> None:
    torch.testing.assert_close(train(method, halves(0, ROWS)), train(method, [slice(0, ROWS)]), rtol=0, atol=1e-9)
