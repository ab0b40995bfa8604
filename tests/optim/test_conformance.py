"""The conformance suite: every registered method passes, every planted fault fails on its own line."""

from __future__ import annotations

import os
from pathlib import Path

import planted
import pytest

from mtbench.errors import PluginError, UnknownNameError
from mtbench.optim.conformance import CHECKS, Check, check_optimizer
from mtbench.optim.new_optimizer import new_optimizer
from mtbench.registry import PLUGIN_VARIABLE, entries


def failures(checks: list[Check]) -> dict[str, str]:
    return {check.name: check.sentence for check in checks if not check.ok}


def check_source(source: str, folder: Path, worker: bool = False) -> dict[str, str]:
    file = folder / "planted.py"
    file.write_text(planted.HEAD + source, encoding="utf-8")
    return failures(check_optimizer(file=file, worker=worker))


@pytest.mark.parametrize("name", sorted(e.name for e in entries("optimizer").values() if e.builtin))
def test_every_method_keeps_every_promise(name: str) -> None:
    checks = check_optimizer(name, worker=False)
    assert failures(checks) == {}
    assert [c.name for c in checks] == [title for title in CHECKS if title != "worker"]
    assert all(c.sentence for c in checks)


def test_a_fault_in_a_file_fails_on_its_line(tmp_path: Path) -> None:
    failed = check_source(planted.FIRST_TASK, tmp_path)
    assert "permuting the tasks changes" in failed["permutation"]


def test_what_is_declared_badly(tmp_path: Path) -> None:
    failed = check_source(planted.UNDOCUMENTED, tmp_path)
    assert "docstring" in failed["metadata"]
    assert "power has no bounds" in failed["hyperparameters"]
    assert "reset_on_episode" in failed["state"]


def test_names_that_the_base_class_uses(tmp_path: Path) -> None:
    failed = check_source(planted.TAKEN_NAMES, tmp_path)
    assert "seed changes while training" in failed["hyperparameters"]
    assert "params hides" in failed["state"]


def test_what_only_works_in_its_own_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PLANTED_PROCESS", raising=False)
    monkeypatch.setenv("PLANTED_PROCESS", str(os.getpid()))
    failed = check_source(planted.NEEDS_ITS_PROCESS, tmp_path, worker=True)
    assert "other numbers" in failed["worker"]
    assert len(failed) == 1


def test_a_plugin_file_may_be_named_like_any_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a fresh Python would look here first
    for name in ("random", "mtbench"):
        file = new_optimizer("brand_new", tmp_path).rename(tmp_path / f"{name}.py")
    assert failures(check_optimizer(file=file)) == {}


def test_the_scaffold_passes_as_it_stands(tmp_path: Path) -> None:
    checks = check_optimizer(file=new_optimizer("brand_new", tmp_path))
    assert failures(checks) == {}
    assert len(checks) == len(CHECKS)


def test_files_and_names_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="mgda"):
        check_optimizer("mgdaa")
    empty = tmp_path / "empty.py"
    empty.write_text("x = 1\n")
    with pytest.raises(PluginError, match="no plugin class"):
        check_optimizer(file=empty)


def test_the_environment_is_left_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PLUGIN_VARIABLE, raising=False)
    check_source(planted.FIRST_TASK, tmp_path)
    assert PLUGIN_VARIABLE not in os.environ
