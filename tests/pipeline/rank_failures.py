"""What two processes do in ``test_followers.py``: stages that fail on both ranks, on rank 0 alone, on rank 1 alone."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from mtbench.errors import RunError
from mtbench.pipeline import followers
from mtbench.training.ranks import current_ranks

followers.GRACE, followers.LAST_WORD = 1.0, 5.0


def together(stage: str) -> int:
    """A stage's work: an exchange, and a failure as the stage's name says."""
    ranks = current_ranks()
    ranks.all_reduce(torch.ones(1))
    if stage == "both":
        raise RunError("diverged")
    if stage == "first" and ranks.rank == 0:
        raise OSError("disk full")
    if stage == "second" and ranks.rank == 1:
        raise ValueError("no memory")
    return int(ranks.all_reduce(torch.ones(1, dtype=torch.int64)) if stage != "first" else 0)


def lead() -> list[str]:
    leader = followers.current_leader()
    assert leader is not None
    request = SimpleNamespace(to_json=lambda: "{}")
    context: Any = SimpleNamespace(
        run=SimpleNamespace(request=request), store=SimpleNamespace(root=Path()), ranks=current_ranks()
    )
    said = []
    for name in ("whole", "both", "first", "whole", "second", "whole"):
        stage: Any = SimpleNamespace(name="train", key=name, label=name)
        try:
            said.append(f"{name}: {leader.compute(context, stage, Path())}")
        except Exception as error:  # noqa: BLE001 - what a caller would see
            said.append(f"{name}: {type(error).__name__}: {error}")
    return said


if __name__ == "__main__":
    followers.stages = SimpleNamespace(compute=lambda context, stage, work: together(stage.key))  # type: ignore
    followers._help = lambda order, known: together(order["stage"])  # type: ignore
    result = followers.with_ranks(lead)
    if isinstance(result, list):
        Path(sys.argv[1]).write_text(json.dumps(result))
    else:
        sys.exit(result)
