from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_suite import SETTINGS, write_suite

import mtbench


class Bench:
    """Runs the tiny suite with a store and results of its own."""

    def __init__(self, folder: Path, suite: Path) -> None:
        self.folder, self.suite = folder, suite
        self.store, self.results = folder / "store", folder / "results"

    def run(self, optimizer: str | list[str], *assignments: str, **options: Any) -> list[dict[str, Any]]:
        options = {"store": self.store, "results": self.results, "baselines": (), **options}
        return mtbench.run(optimizer, str(self.suite), set=[*SETTINGS, *assignments], **options)


@pytest.fixture(scope="session")
def tiny_suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_suite(tmp_path_factory.mktemp("suite") / "tiny")


@pytest.fixture
def bench(tmp_path: Path, tiny_suite: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("MTBENCH_HOME", str(tmp_path / "home"))
    return Bench(tmp_path, tiny_suite)
