"""The commitment rate: who keeps its task from one logged step to the next."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from training.test_loop import StopHereError, config, trainer

from mtbench.optim import streaming
from mtbench.registry import get_optimizer
from mtbench.training.ownership import Ownership


def alone(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


def test_the_rate_is_the_share_that_keeps_its_task_of_those_that_had_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "CHUNK", 2)
    ownership = Ownership()
    # tasks of five parameters: a, b, a, b and none
    first = [torch.tensor([2.0, 0.0, 3.0, 1.0, 0.0]), torch.tensor([1.0, 1.0, 0.0, 2.0, 0.0])]
    # then: a, b, b, none, a
    second = [torch.tensor([9.0, 0.5, 1.0, 0.0, 1.0]), torch.tensor([8.0, 0.6, 2.0, 0.0, 0.0])]
    assert ownership.look(first, alone) is None
    assert ownership.look(second, alone) == 2 / 4
    assert ownership.look(second, alone) == 1.0


def test_without_a_parameter_that_had_a_task_there_is_no_rate() -> None:
    ownership = Ownership()
    assert ownership.look([torch.zeros(3)] * 2, alone) is None
    assert ownership.look([torch.ones(3), torch.zeros(3)], alone) is None


def test_more_tasks_than_a_byte_counts() -> None:
    ownership = Ownership()
    rows = list(torch.eye(300).unbind())
    ownership.look(rows, alone)
    assert ownership.look(rows, alone) == 1.0 and ownership.look([*rows[1:], rows[0]], alone) == 0.0


@pytest.mark.parametrize(("beta", "low", "high"), [(0.0, 0.15, 0.35), (0.9, 0.4, 0.5), (0.999, 0.9, 1.0)])
def test_the_rate_rises_with_beta(beta: float, low: float, high: float) -> None:
    # the noise of a step outweighs what a parameter has of its task: only an average sees it
    opt = get_optimizer("tsage")(beta=beta, burn_in=0.0)
    theta, draws = torch.ones(4000), torch.Generator().manual_seed(0)
    opt.start(theta, 4, 400)
    ownership, rates = Ownership(), []
    averages = opt.importances()
    assert averages is not None
    for step in range(400):
        gradients = torch.rand(4, 4000, generator=draws)
        gradients[torch.arange(4000) % 4, torch.arange(4000)] += 0.05
        opt.combine(gradients, torch.ones(4))
        if step % 10 == 0:
            rates.append(ownership.look(averages, alone))
    last = [rate for rate in rates[-10:] if rate is not None]
    assert low < sum(last) / len(last) < high


def test_naive_has_no_rate_and_tsage_one_for_every_logged_step_but_the_first(tmp_path: Path) -> None:
    for name, steps in (("naive", []), ("tsage", [2, 4, 6, 7])):
        job = trainer(tmp_path / name, name, settings=config(log_every=2, cosines_every=3))
        job.run()
        entries = job.journal.entries
        assert [e["step"] for e in entries if "commitment_rate" in e] == steps
        assert all(0 <= e["commitment_rate"] <= 1 for e in entries if "commitment_rate" in e)


def test_the_rates_are_the_same_after_a_resumption(tmp_path: Path) -> None:
    def stop(done: int, total: int, losses: dict[str, float]) -> None:
        if done == 7:
            raise StopHereError

    with pytest.raises(StopHereError):
        trainer(tmp_path / "x", "tsage", 10).run(stop)
    found = []
    for folder in ("x", "y"):
        job = trainer(tmp_path / folder, "tsage", 10)
        job.run()
        found.append([(e["step"], e.get("commitment_rate")) for e in job.journal.entries])
    assert found[0] == found[1] and found[0][-1][1] is not None
