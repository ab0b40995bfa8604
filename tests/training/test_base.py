"""The base optimizer: AdamW, SGD or Muon along the combined gradient."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from training.test_loop import StopHereError, config, model, trainer

from mtbench.config import build_config
from mtbench.errors import ConfigError
from mtbench.model.flat import FlatParameters
from mtbench.training.base import BaseOptimizer, check_muon, is_matrix
from mtbench.training.ranks import Ranks
from mtbench.training.sharding import Shard

SETTINGS: dict[str, dict[str, Any]] = {
    "adamw": {"weight_decay": 0.1},
    "sgd": {"weight_decay": 0.1},
    "plain": {"base": "sgd", "base_momentum": 0},
    "muon": {"weight_decay": 0.1},
}


def settings(name: str) -> Any:
    return config(**{"base": name, **SETTINGS[name]})


def flat() -> FlatParameters:
    encoder = model(config())
    return FlatParameters(encoder, encoder.owners)


def based(name: str) -> tuple[FlatParameters, BaseOptimizer, torch.Tensor]:
    parameters = flat()
    update = torch.zeros_like(parameters.theta)
    return parameters, BaseOptimizer(Shard(parameters, Ranks(), False), update, settings(name).train), update


def draw(update: torch.Tensor, seed: int) -> torch.Tensor:
    return torch.randn(update.shape, generator=torch.Generator().manual_seed(seed)) * 0.01


def test_muon_takes_the_weight_matrices_of_numbered_blocks() -> None:
    chosen = {s.name for s in flat().segments if is_matrix(s)}
    others = {s.name for s in flat().segments} - chosen
    assert all(".block." in name and name.endswith("weight") for name in chosen)
    assert any(".q.weight" in name for name in chosen) and any(".wo.weight" in name for name in chosen)
    assert any("relative_attention_bias" in name for name in others) and any("shared.weight" in name for name in others)
    assert all("relative_attention_bias" in name or "norm" in name or ".block." not in name for name in others)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_step_is_that_of_torch_on_the_parameters_themselves(name: str) -> None:
    parameters, base, update = based(name)
    train = settings(name).train
    theirs = [p.detach().clone().requires_grad_() for p in parameters._model.parameters()]
    pairs = list(zip(parameters.segments, theirs, strict=True))
    matrices = [p for s, p in pairs if train.base == "muon" and is_matrix(s)]
    rest = [p for p in theirs if all(p is not m for m in matrices)]
    found: list[Any] = []
    if train.base == "sgd":
        found.append(torch.optim.SGD(rest, lr=0.1, momentum=0.9 if name == "sgd" else 0.0))
    else:
        found.append(torch.optim.AdamW(rest, lr=0.1, weight_decay=train.weight_decay))
    if matrices:
        found.append(torch.optim.Muon(matrices, lr=0.1, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"))
    for step in range(3):
        update.copy_(draw(update, step))
        for segment, p in pairs:
            p.grad = update[segment.start : segment.stop].view_as(p).clone()
            if train.base == "sgd":  # decoupled, as in the others
                p.data.mul_(1 - 0.1 * train.weight_decay)
        base.step(0.1)
        for optimizer in found:
            optimizer.step()
    expected = torch.cat([p.detach().flatten() for p in theirs])
    torch.testing.assert_close(parameters.theta, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", SETTINGS)
def test_state_is_saved_by_parameter_name_and_goes_on_bit_for_bit(name: str) -> None:
    parameters, base, update = based(name)
    for step in range(2):
        update.copy_(draw(update, step))
        base.step(0.1)
    state, theta = copy.deepcopy(base.state()), parameters.theta.clone()
    names = {s.name for s in parameters.segments}
    assert set(state["parameters"]) == (set() if name == "plain" else names)
    other, again, gradient = based(name)
    other.theta.copy_(theta)
    again.load(state)
    for vector, optimizer in ((update, base), (gradient, again)):
        vector.copy_(draw(vector, 7))
        optimizer.step(0.1)
    assert torch.equal(other.theta, parameters.theta)


@pytest.mark.parametrize("name", SETTINGS)
def test_the_step_difference_is_that_of_two_steps(name: str) -> None:
    """Taken from one state, without decay, over the rate."""
    parameters, base, update = based(name)
    update.copy_(draw(update, 0))
    base.step(0.1)
    naive = draw(update, 1)
    update.copy_(naive + 0.3 * draw(update, 2))
    found, theta, state = base.step_difference(naive), parameters.theta.clone(), copy.deepcopy(base.state())
    steps = []
    for gradient in (update.clone(), naive):
        other, again, vector = based(name)
        again.train = again.train.model_copy(update={"weight_decay": 0.0})
        other.theta.zero_()  # so that small steps keep their digits
        again.load(copy.deepcopy(state))
        vector.copy_(gradient)
        for optimizer in again.optimizers:
            optimizer.param_groups[0]["weight_decay"] = 0.0
        again.step(1.0)
        steps.append(other.theta.clone())
    expected = float((steps[0] - steps[1]).norm() / steps[1].norm())
    assert found == pytest.approx(expected, rel=1e-4) and torch.equal(parameters.theta, theta)
    assert base.step_difference(update.clone()) == 0.0
    after = base.state()["parameters"]
    assert all(torch.equal(v[k], after[n][k]) for n, v in state["parameters"].items() for k in v)


@pytest.mark.parametrize("name", ["sgd", "muon"])
def test_a_run_resumed_at_an_odd_step_equals_one_undisturbed(name: str, tmp_path: Path) -> None:
    def stop(done: int, total: int, losses: dict[str, float]) -> None:
        if done == 7:
            raise StopHereError

    changed = settings(name)
    with pytest.raises(StopHereError):
        trainer(tmp_path / "x", "pcgrad", 10, changed).run(stop)
    resumed, whole = trainer(tmp_path / "x", "pcgrad", 10, changed), trainer(tmp_path / "y", "pcgrad", 10, changed)
    assert resumed.run()["update_digest"] == whole.run()["update_digest"]
    assert torch.equal(resumed.flat.theta, whole.flat.theta)


def test_muon_refuses_state_that_is_cut() -> None:
    with pytest.raises(ConfigError, match=r"whole matrices.*\n  Set train\.shard_state=false"):
        check_muon(sharded=True)
    check_muon(sharded=False)


def test_momentum_is_resolved_and_belongs_to_those_that_have_one() -> None:
    known = {base: build_config({"train": {"base": base}}, "t").train for base in ("adamw", "sgd", "muon")}
    assert {base: train.base_momentum for base, train in known.items()} == {"adamw": None, "sgd": 0.9, "muon": 0.95}
    assert not {"base", "base_momentum"} & set(known["adamw"].content())
    assert known["sgd"].content()["base_momentum"] == 0.9
    with pytest.raises(ConfigError, match=r"train\.base_momentum: is for train\.base=sgd or muon"):
        build_config({"train": {"base_momentum": 0.5}}, "t")
