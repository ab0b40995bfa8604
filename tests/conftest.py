"""Shared fixtures. One thread: on small tensors and shared cores two are slower than one."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _plugins_as_they_were() -> Iterator[None]:
    """``--plugin`` makes a file known to the whole process, and a test's own are gone for the next."""
    from mtbench.registry import plugins_as_they_were

    with plugins_as_they_were():
        yield


REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
"""Real data beside the checkout, which is not part of the project."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without the real data, the tests that read them are not there: each has a twin on files made for the project."""
    if REAL_DATA.is_dir():
        return
    reading = [item for item in items if "shared_data" in getattr(item, "fixturenames", ())]
    if reading:
        config.hook.pytest_deselected(items=reading)
        items[:] = [item for item in items if item not in set(reading)]


def pytest_report_header(config: pytest.Config) -> str:
    return (
        f"real data (../shared/data): {'present' if REAL_DATA.is_dir() else 'not present, tests on them are left out'}"
    )


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the checkout; where it is absent, tests that ask for it are left out."""
    return REAL_DATA


DATA = Path(__file__).parent / "data"
"""Files made for the project, described in tests/data/README.md."""


@pytest.fixture(scope="session")
def specs() -> Path:
    """The folder of worked examples."""
    return DATA / "examples"


@pytest.fixture(scope="session")
def formats() -> Path:
    """The folder of made-up files in the formats in which data sets come."""
    return DATA / "formats"


@pytest.fixture(scope="session")
def suites() -> Path:
    """The folder of two made-up suites: ``valley`` (one corpus with pages) and ``crafts`` (a corpus for each task)."""
    return DATA / "suites"


@pytest.fixture
def field(tmp_path: Path) -> Callable[[str], Path]:
    """``field(case)``: a copy of a case of tests/data/field."""

    def copy(case: str) -> Path:
        return Path(shutil.copytree(DATA / "field" / case, tmp_path / case))

    return copy
