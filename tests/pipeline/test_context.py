"""What stages share."""

from __future__ import annotations

import pytest
from pipeline.conftest import Bench

from mtbench.errors import ConfigError


@pytest.mark.parametrize("text", ["0", "many", "-1", ""])
def test_a_wrong_number_of_tokenising_processes_is_said_before_a_record_begins(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("MTBENCH_PREPARE_WORKERS", text)
    with pytest.raises(ConfigError, match="MTBENCH_PREPARE_WORKERS"):
        bench.run("naive")
    assert not list(bench.results.rglob("*.json"))
