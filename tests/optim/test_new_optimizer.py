"""mtbench new optimizer: what it writes and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtbench.errors import UsageError
from mtbench.optim.new_optimizer import new_optimizer
from mtbench.registry import add_plugin_files, entries


def test_the_file_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTBENCH_PLUGINS", "")
    file = new_optimizer("my_own_method", tmp_path / "new")
    assert file == tmp_path / "new" / "my_own_method.py"
    add_plugin_files([str(file)])
    entry = entries("optimizer")["my_own_method"]
    assert entry.class_name == "MyOwnMethod"
    assert len(file.read_text(encoding="utf-8").splitlines()) < 50


@pytest.mark.parametrize("name", ["", "My", "two words", "1st", "class", "../up", "a-b"])
def test_bad_names_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a possible name for an optimizer"):
        new_optimizer(name, tmp_path)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    new_optimizer("mine", tmp_path)
    with pytest.raises(UsageError, match="exists already"):
        new_optimizer("mine", tmp_path)
    with pytest.raises(UsageError, match=r"mgda.*exists already: .*mgda\.py"):
        new_optimizer("mgda", tmp_path)
