"""The public names: listed, lazy, and typed for users who check their programs with ``mypy --strict``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import typed_api
from tiny_suite import SETTINGS, write_suite

import mtbench

ROOT = Path(__file__).resolve().parents[1]
SETTINGS_OF_MYPY = """\
[mypy]
strict = True
follow_imports = silent
[mypy-transformers.*,ray.*,huggingface_hub.*,matplotlib.*,PIL.*,pydantic.*,rich.*]
follow_imports = skip
"""
"""Libraries that take long to read and no public type comes from are left out."""


def strict(file: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Mypy as somebody has it who installed mtbench: none of our settings, and no findings in our own files."""
    (folder / "mypy.ini").write_text(SETTINGS_OF_MYPY, encoding="utf-8")
    environment = {**os.environ, "MYPYPATH": str(ROOT)}
    command = [sys.executable, "-m", "mypy", "--config-file=mypy.ini", "--cache-dir=cache", str(file)]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("typed")


@pytest.mark.slow
def test_the_examples_of_the_contract_type_check(folder: Path) -> None:
    done = strict(ROOT / "tests" / "typed_api.py", folder)
    assert done.returncode == 0, done.stdout + done.stderr


WRONG = {
    'mtbench.get_optimizer("tsage")(tau=2.0).start(3)': "arg-type",
    'mtbench.get_optimizer("tsage").papers': "attr-defined",
    'mtbench.run("naive", "kilt", seed=[0])': "call-arg",
    'mtbench.run("naive", "kilt")[0]["averages"]': "typeddict-item",
    "mtbench.runs": "attr-defined",
    "def f(suite: mtbench.Suite) -> int: return suite.name": "return-value",
}


@pytest.mark.slow
def test_what_is_wrong_does_not_type_check(folder: Path) -> None:
    """After the test above it reads the same cache and costs little."""
    file = folder / "wrong.py"
    file.write_text("\n".join(["import mtbench", *WRONG]) + "\n", encoding="utf-8")
    done = strict(file, folder)
    found = {line.split(":")[1]: line for line in done.stdout.splitlines() if ": error:" in line}
    for number, (code, kind) in enumerate(WRONG.items(), start=2):
        assert f"[{kind}]" in found.get(str(number), ""), f"{code}: {done.stdout}"


def test_dir_shows_the_public_names() -> None:
    assert set(dir(mtbench)) == {*mtbench.__all__, "__version__"}
    for name in mtbench.__all__:
        assert getattr(mtbench, name) is not None
    assert (Path(mtbench.__file__).parent / "py.typed").is_file()


def test_importing_and_listing_need_no_torch() -> None:
    code = "import sys, mtbench; dir(mtbench); assert 'torch' not in sys.modules and 'pydantic' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr


def test_the_examples_do_what_they_say(tmp_path: Path) -> None:
    for opt in typed_api.methods():
        assert torch.isfinite(typed_api.whole_steps(opt)).all(), opt.name
    assert "fever" in typed_api.suites(tmp_path)
    settings = dict(item.split("=", 1) for item in SETTINGS)
    found = typed_api.runs(write_suite(tmp_path / "tiny"), tmp_path, settings)
    assert len(found) == 1 and all(average is not None for average in found.values())
