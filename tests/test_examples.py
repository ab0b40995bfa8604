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
