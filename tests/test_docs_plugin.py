"""docs/adding-an-optimizer.md, followed literally."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mtbench.cli.main import main
from mtbench.optim.conformance import check_optimizer
from mtbench.registry import PLUGIN_VARIABLE, entries, get_optimizer

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "adding-an-optimizer.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^`(\w+\.py)`:\n\n```python\n(.*?)```", PAGE, flags=re.MULTILINE | re.DOTALL))
COMMANDS = [line.split()[1:] for line in PAGE.splitlines() if line.startswith("mtbench ")]


@pytest.fixture(autouse=True)
def no_other_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PLUGIN_VARIABLE, "")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page's files, in the working directory."""
    for name, source in FILES.items():
        (tmp_path / name).write_text(source, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page_has_the_three_ways_and_ends_with_the_two_commands() -> None:
    for base in ("LossWeighting", "GramWeighting", "GradientCombining"):
        assert sum(f"({base})" in source for source in FILES.values()) >= 1
    assert [" ".join(c[:2]) for c in COMMANDS] == ["new optimizer", "check optimizer", "run --optimizer"]
    assert PAGE.rstrip().endswith("--suite kilt\n```")


@pytest.mark.parametrize("name", sorted(FILES))
def test_every_file_on_the_page_passes_its_checks(name: str, folder: Path) -> None:
    failed = [f"{c.name}: {c.sentence}" for c in check_optimizer(file=folder / name, worker=False) if not c.ok]
    assert failed == []


def test_the_commands_on_the_page(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new, check, run = COMMANDS
    assert main(new) == 0
    assert (folder / "my_method.py").is_file()
    assert main([*check, "--json"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["ok"] is True
    assert {"worker", "resume", "distinct"} <= {row["name"] for row in result["checks"]}
    assert main([*run, "--dry-run"]) == 0
    assert "soft_worst" in capsys.readouterr().out


def test_a_failed_check_is_exit_code_1(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = folder / "soft_worst.py"
    file.write_text(FILES["soft_worst.py"].replace("shares / shares.sum()", "2 * shares / shares.sum()"))
    assert main(["check", "optimizer", "--file", str(file)]) == 1
    assert re.search(r"FAIL\s+one task .* 2 times", capsys.readouterr().out)


def test_a_file_in_the_folder_of_a_clone(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    clone = tmp_path_factory.mktemp("clone")
    for package in ("mtbench", "optimizers", "tasks"):
        shutil.copytree(ROOT / package, clone / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(folder / "sign_vote.py", clone / "optimizers")
    code = (
        "from mtbench.registry import lookup, get_optimizer\n"
        "entry = lookup('optimizer', 'sign_vote')\n"
        "print(entry.builtin, entry.file, get_optimizer('sign_vote').__module__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=clone,
        env={**os.environ, "PYTHONPATH": str(clone)},
    )
    assert done.stderr == ""
    assert done.stdout.split() == ["True", str(clone / "optimizers" / "sign_vote.py"), "optimizers.sign_vote"]


def test_an_installed_package_with_an_entry_point(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path_factory.mktemp("site")
    (site / "my_package").mkdir()
    (site / "my_package" / "__init__.py").write_text("")
    shutil.copy(folder / "soft_worst.py", site / "my_package")
    about = site / "my_package-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    declared = re.search(r'^soft_worst = "(.*)"$', PAGE, flags=re.MULTILINE)
    assert declared
    (about / "entry_points.txt").write_text(f"[mtbench.optimizers]\nsoft_worst = {declared.group(1)}\n")
    monkeypatch.syspath_prepend(site)
    assert entries("optimizer")["soft_worst"].summary == "more weight to the larger losses"
    assert get_optimizer("soft_worst").__module__ == "my_package.soft_worst"
    failed = [c.sentence for c in check_optimizer("soft_worst") if not c.ok]
    assert failed == []
