"""docs/optimizers.md has every method, and its tables are what the registry and the measurements say."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from mtbench.registry import entries

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "optimizers.md").read_text(encoding="utf-8")
BUILTIN = sorted(name for name, entry in entries("optimizer").items() if entry.builtin)


@pytest.fixture
def generator(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """``benchmarks/optimizers_page.py``."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    spec = importlib.util.spec_from_file_location("optimizers_page", ROOT / "benchmarks" / "optimizers_page.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "optimizers_page", module)
    spec.loader.exec_module(module)
    return module


def test_the_tables_are_what_the_registry_says(generator: ModuleType) -> None:
    assert generator.filled(PAGE) == PAGE, "run: python benchmarks/optimizers_page.py --write"


def test_a_page_that_says_something_else_is_found_out(generator: ModuleType) -> None:
    for old, new in (("| gram |", "| losses |"), ("`tau=2.0`", "`tau=3.0`"), ("[uw]", "[vw]")):
        assert old in PAGE
        assert generator.filled(PAGE.replace(old, new)) == PAGE


@pytest.mark.parametrize("name", BUILTIN)
def test_every_method_has_its_rows_and_a_word_on_public_codes(name: str) -> None:
    assert f"| [{name}](../optimizers/" in PAGE
    assert re.search(rf"^\| {name} \| ", PAGE, re.MULTILINE)
    assert re.search(rf"^- \*\*{name}\*\*: ", PAGE, re.MULTILINE)


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)", PAGE):
        assert (ROOT / "docs" / target).exists(), target
