from __future__ import annotations

import pytest
import torch
from torch import nn

from mtbench.errors import ConfigError
from mtbench.model.flat import FlatParameters


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query_0, self.query_1 = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
        self.shared = nn.Linear(2, 3)
        self.frozen = nn.Parameter(torch.ones(4), requires_grad=False)

    def forward(self, x: torch.Tensor, k: int) -> torch.Tensor:
        return self.shared((self.query_0, self.query_1)[k](x)).sum()


def test_gradients_arrive_in_the_flat_buffer_as_autograd_gives_them() -> None:
    torch.manual_seed(0)
    net, x = Net(), torch.randn(5, 2)
    expected = torch.autograd.grad(net(x, 0), [net.shared.weight, net.query_0.weight])
    flat = FlatParameters(net)
    net(x, 0).backward()
    places = {s.name: flat.gradient[s.start : s.stop] for s in flat.segments}
    assert torch.equal(places["shared.weight"], expected[0].flatten())
    assert torch.equal(places["query_0.weight"], expected[1].flatten())
    assert "frozen" not in places


def test_writing_theta_moves_the_model() -> None:
    net = Net()
    flat = FlatParameters(net)
    flat.theta.fill_(2.0)
    assert (net.shared.bias == 2).all()
    flat.check_views()


def test_parameters_of_one_task_stand_behind_the_shared_ones() -> None:
    flat = FlatParameters(Net(), {"query_0.": 0, "query_1.": 1})
    assert [name for name, *_ in flat.layout] == ["shared.weight", "shared.bias"]
    assert flat.num_shared == 9
    assert flat.own_segment(0) == (9, 13) and flat.own_segment(1) == (13, 17) and flat.own_segment(2) is None


def test_a_parameter_claimed_by_two_tasks_is_named() -> None:
    with pytest.raises(ConfigError, match=r"query_1\.weight.*\[0, 1\]"):
        FlatParameters(Net(), {"query_1.": 0, "query_": 1})


def test_tied_weights_appear_once() -> None:
    net = Net()
    net.query_1.weight = net.query_0.weight
    assert FlatParameters(net).theta.numel() == 4 + 9
