"""Searching on several ranks: what one of them does alone, and which GPU each uses."""

from __future__ import annotations

import threading
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mtbench.pipeline.searching import device_name
from mtbench.training.ranks import Ranks, TorchRanks


class Control:
    """A key-value store as torch's: ``wait`` returns when the keys are there."""

    def __init__(self) -> None:
        self._there: dict[str, threading.Event] = {}
        self.limits: list[timedelta] = []

    def _event(self, key: str) -> threading.Event:
        return self._there.setdefault(key, threading.Event())

    def set(self, key: str, value: str) -> None:
        self._event(key).set()

    def wait(self, keys: list[str], limit: timedelta) -> None:
        self.limits.append(limit)
        for key in keys:
            assert self._event(key).wait(20)


def rank_of(number: int, control: Control) -> TorchRanks:
    ranks: Any = TorchRanks.__new__(TorchRanks)
    ranks.rank, ranks.size, ranks.control, ranks._led = number, 2, control, 0
    return ranks  # type: ignore[no-any-return]


def test_what_rank_0_does_alone_is_waited_for_outside_of_any_exchange() -> None:
    control, order = Control(), []
    other = threading.Thread(
        target=lambda: (rank_of(1, control).led(lambda: order.append("never")), order.append("on"))
    )
    other.start()
    rank_of(0, control).led(lambda: order.append("built"))
    other.join(20)
    assert order == ["built", "on"]
    assert control.limits[0] > timedelta(hours=24)  # an exchange gives up after half an hour
    Ranks().led(lambda: order.append("alone"))
    assert order[-1] == "alone"


def test_an_error_of_rank_0_lets_the_others_go() -> None:
    control = Control()
    waiting = threading.Thread(target=lambda: rank_of(1, control).led(lambda: None))
    waiting.start()

    def fails() -> None:
        raise ValueError("no index")

    with pytest.raises(ValueError, match="no index"):
        rank_of(0, control).led(fails)
    waiting.join(20)
    assert not waiting.is_alive()


def test_every_rank_searches_on_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    import mtbench.retrieval.faiss_search as module

    numbers = []

    def to_gpu(resources: object, number: int, index: Any) -> Any:
        numbers.append(number)
        return index

    faiss: Any = SimpleNamespace(
        IndexFlatIP=lambda dimension: SimpleNamespace(add=lambda vectors: None),
        StandardGpuResources=lambda: None,
        index_cpu_to_gpu=to_gpu,
        omp_get_max_threads=lambda: 1,
        omp_set_num_threads=lambda count: None,
    )
    corpus: Any = SimpleNamespace(vectors=[torch.zeros(3, 2).numpy()])
    for current in (0, 1):
        monkeypatch.setattr(torch.cuda, "current_device", lambda current=current: current)
        module._build(faiss, "flat", corpus, 1, device_name(torch.device("cuda")))
    assert numbers == [0, 1]
    assert device_name(torch.device("cpu")) == "cpu"
