"""Nested training state on disk without pickle: tensors in safetensors, everything else in JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch


def save_state(folder: Path, state: Mapping[str, Any]) -> None:
    """Write ``state`` (dicts, lists, numbers, strings, arrays, tensors) so that ``folder`` is whole or as before."""
    from safetensors.torch import save_file

    tensors: dict[str, torch.Tensor] = {}
    plain = _take_out(state, tensors, "s")
    temporary = folder.with_name(f".{folder.name}.new")
    old = folder.with_name(f".{folder.name}.old")
    for leftover in (temporary, old):
        _remove(leftover)
    temporary.mkdir(parents=True)
    save_file(tensors, temporary / "tensors.safetensors")
    (temporary / "state.json").write_text(json.dumps(plain), encoding="utf-8")
    for file in temporary.iterdir():
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
    if folder.exists():
        os.replace(folder, old)
    os.replace(temporary, folder)
    _remove(old)


def load_state(folder: Path) -> Any | None:
    """The dictionary that :func:`save_state` wrote, or None if there is none."""
    from safetensors.torch import load_file

    old = folder.with_name(f".{folder.name}.old")
    if not folder.exists() and (old / "state.json").exists():
        os.replace(old, folder)  # the process died between the two renames
    if not (folder / "state.json").exists():
        return None
    tensors = load_file(folder / "tensors.safetensors")
    plain = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    return _put_back(plain, tensors)


def _take_out(value: Any, tensors: dict[str, torch.Tensor], path: str) -> Any:
    if isinstance(value, torch.Tensor):
        tensors[path] = value.detach().cpu().contiguous().clone()
        return {"__tensor__": path}
    if isinstance(value, np.ndarray):
        tensors[path] = torch.from_numpy(np.ascontiguousarray(value)).clone()
        return {"__array__": path}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        items = [[_key(k), _take_out(v, tensors, f"{path}.{i}")] for i, (k, v) in enumerate(value.items())]
        return {"__dict__": items}
    if isinstance(value, (list, tuple)):
        return [_take_out(v, tensors, f"{path}.{i}") for i, v in enumerate(value)]
    return value


def _key(key: object) -> str | int:
    assert isinstance(key, (str, int)), f"state keys are strings or integers, got {key!r}"
    return key


def _put_back(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, list):
        return [_put_back(v, tensors) for v in value]
    if not isinstance(value, dict):
        return value
    if "__tensor__" in value:
        return tensors[value["__tensor__"]]
    if "__array__" in value:
        return tensors[value["__array__"]].numpy()
    return {key: _put_back(v, tensors) for key, v in value["__dict__"]}


def _remove(folder: Path) -> None:
    import shutil

    if folder.exists():
        shutil.rmtree(folder)
