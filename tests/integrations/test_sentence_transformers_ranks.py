"""Two gloo processes with MultitaskTrainer make the updates of one process with both their batches."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

pytest.importorskip("sentence_transformers", reason="the extra 'st' (sentence-transformers) is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")  # the libraries' own

from integrations import trainer_worker  # noqa: E402
from integrations.st_cases import STEPS, model, write_model  # noqa: E402
from integrations.trainer_worker import METHODS, SIZES, TASKS  # noqa: E402
from training.test_ranks import start_ranks  # noqa: E402

from mtbench.integrations.sentence_transformers import RoundRobinInRuns  # noqa: E402
from mtbench.optim import MultitaskStep  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def left(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes left."""
    out = tmp_path_factory.mktemp("ranks")
    processes = start_ranks([str(Path(trainer_worker.__file__)), str(out), str(folder)], ACCELERATE_USE_CPU="true")
    try:
        for process in processes:
            _, errors = process.communicate(timeout=600)
            assert process.returncode == 0, errors
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    return out


@pytest.mark.parametrize("method", METHODS)
def test_two_processes_train_as_one_with_both_batches(folder: Path, left: Path, method: str) -> None:
    from sentence_transformers.losses import MultipleNegativesRankingLoss

    first, second = (torch.load(left / f"{method}-{rank}.pt") for rank in (0, 1))
    assert torch.equal(first["theta"], second["theta"])
    assert [task for task, _ in first["seen"]] == [task for task, _ in second["seen"]] == list(TASKS) * STEPS
    net = model(folder)
    loss = MultipleNegativesRankingLoss(net)
    step = MultitaskStep(
        method, net.named_parameters(), TASKS, STEPS, seed=3, task_sizes=[SIZES[task] for task in TASKS]
    )
    descent = torch.optim.SGD(net.parameters(), lr=0.5)
    net.train()
    means = []
    for start in range(0, len(first["seen"]), len(TASKS)):
        with step.step():
            for i in range(start, start + len(TASKS)):
                for task, features in (first["seen"][i], second["seen"][i]):
                    step.backward(task, loss(features, None) / 2)
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        descent.step()
        means.append(step.optimizer.losses)
    torch.testing.assert_close(
        first["theta"], torch.cat([p.detach().reshape(-1) for p in net.parameters()]), rtol=0, atol=1e-6
    )
    for entry, losses in zip(json.loads((left / f"{method}-0.json").read_text()), means, strict=True):
        assert [entry[f"loss/{task}"] for task in TASKS] == pytest.approx(losses, abs=1e-5)
        assert entry["loss"] == pytest.approx(sum(losses) / len(TASKS), abs=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_two_resumed_processes_train_as_undisturbed_ones(left: Path, method: str) -> None:
    for rank in (0, 1):
        whole = torch.load(left / f"{method}-{rank}.pt")["theta"]
        torch.testing.assert_close(torch.load(left / f"{method}-{rank}-resumed.pt"), whole, rtol=0, atol=1e-6)


def test_processes_with_different_tasks_at_a_time_stop(left: Path) -> None:
    for rank in (0, 1):
        assert "different tasks at one time" in (left / f"mixed-{rank}.txt").read_text()


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_every_process_sees_every_task_in_turn(processes: int) -> None:
    from accelerate.data_loader import BatchSamplerShard
    from torch.utils.data import BatchSampler, ConcatDataset, SequentialSampler

    sizes = [20, 31, 26]
    data: ConcatDataset[int] = ConcatDataset([list(range(n)) for n in sizes])
    sampler = RoundRobinInRuns(
        data, [BatchSampler(SequentialSampler(range(n)), 3, drop_last=True) for n in sizes], processes=processes
    )
    batches = list(sampler)
    assert len(batches) == len(sampler) == 6 // processes * processes * 3
    starts = [0, 20, 51, 77]
    for rank in range(processes):
        dealt = list(BatchSamplerShard(sampler, processes, rank, even_batches=False))
        tasks = [next(k for k in range(3) if starts[k] <= batch[0] < starts[k + 1]) for batch in dealt]
        assert tasks == [0, 1, 2] * (6 // processes)
    rows = sorted(row for batch in batches for row in batch)
    assert len(set(rows)) == len(rows)
