"""Shared fixtures. One thread: on small tensors and shared cores two are slower than one."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _floating_point_as_it_was() -> Iterator[None]:
    """A run flushes denormal numbers to zero in its whole process; the next test gets them back."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)


@pytest.fixture(autouse=True)
def _plugins_as_they_were() -> Iterator[None]:
    """``--plugin`` makes a file known to the whole process, and a test's own are gone for the next."""
    before = os.environ.get("MTBENCH_PLUGINS")
    yield
    os.environ.pop("MTBENCH_PLUGINS", None)
    if before is not None:
        os.environ["MTBENCH_PLUGINS"] = before


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the checkout; tests that need it are skipped where it is absent."""
    folder = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("real data (../shared/data) is not present")
    return folder


@pytest.fixture(scope="session")
def specs() -> Path:
    """The folder of worked examples beside the checkout; tests that need it are skipped where it is absent."""
    folder = Path(__file__).resolve().parents[1].parent / "shared" / "specs"
    if not folder.is_dir():
        pytest.skip("worked examples (../shared/specs) are not present")
    return folder
