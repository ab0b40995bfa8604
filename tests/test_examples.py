"""What stands in ``examples/`` runs as it stands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "examples"


@pytest.mark.parametrize("method", ["pcgrad", "tsage"])
def test_own_loop(method: str) -> None:
    done = subprocess.run(
        [sys.executable, str(FOLDER / "own_loop.py"), method], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 6 and lines[-1].startswith("step  60  ask ")


def test_sentence_transformers_trainer() -> None:
    pytest.importorskip("sentence_transformers", reason="the extra 'st' (sentence-transformers) is not installed")
    file = FOLDER / "sentence_transformers_trainer.py"
    done = subprocess.run(
        [sys.executable, str(file), "--methods", "naive,pcgrad", "--steps", "10"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    curves = {tuple(line.split()[:2]): line.split()[2:] for line in done.stdout.splitlines()}
    assert list(curves) == [(method, task) for method in ("naive", "pcgrad") for task in ("ask", "claim")]
    for losses in curves.values():
        assert len(losses) == 5 and float(losses[-1]) < float(losses[0])
    assert curves["naive", "ask"] != curves["pcgrad", "ask"]
