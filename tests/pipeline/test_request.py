"""What travels to the process that computes."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtbench.pipeline.request import RunRequest


def test_only_what_names_an_encoders_folder_becomes_a_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("tiny", "mine"):
        (tmp_path / name).mkdir()
    settled = {name: RunRequest("naive", "kilt", encoder=name).settled().encoder for name in ("tiny", "", "mine", "no")}
    assert settled == {"tiny": "tiny", "": "", "mine": str(tmp_path / "mine"), "no": "no"}
