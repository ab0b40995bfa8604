from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch

from mtbench.training.state_files import load_state, save_state


def test_everything_comes_back_as_it_was(tmp_path: Path) -> None:
    state = {
        "tensor": torch.randn(3, 2, dtype=torch.float64),
        "half": torch.ones(2, dtype=torch.bfloat16),
        "array": np.arange(4, dtype=np.int32),
        "nested": {"list": [1, 2.5, None, "ü", {"deep": torch.tensor(3.0)}], "big": 2**120},
        "inf": math.inf,
        "empty": {},
    }
    save_state(tmp_path / "s", state)
    back = load_state(tmp_path / "s")
    assert back is not None
    assert torch.equal(back["tensor"], state["tensor"]) and back["half"].dtype == torch.bfloat16
    assert np.array_equal(back["array"], state["array"]) and back["array"].dtype == np.int32
    assert back["nested"]["list"][:4] == [1, 2.5, None, "ü"] and back["nested"]["list"][4]["deep"] == 3.0
    assert back["nested"]["big"] == 2**120 and back["inf"] == math.inf and back["empty"] == {}


def test_nothing_there_is_none(tmp_path: Path) -> None:
    assert load_state(tmp_path / "absent") is None


def test_a_second_save_replaces_the_first(tmp_path: Path) -> None:
    for value in (1, 2):
        save_state(tmp_path / "s", {"v": value, "t": torch.tensor(float(value))})
    assert load_state(tmp_path / "s") == {"v": 2, "t": torch.tensor(2.0)}
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


def test_dying_between_the_two_renames_loses_nothing(tmp_path: Path) -> None:
    save_state(tmp_path / "s", {"v": 1})
    (tmp_path / "s").rename(tmp_path / ".s.old")
    assert load_state(tmp_path / "s") == {"v": 1}
