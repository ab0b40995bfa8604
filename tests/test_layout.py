"""The floors of the house: each imports only from those below it, and listing needs no heavy library."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLOORS = [
    {
        "allocator",
        "computing",
        "config",
        "train_config",
        "errors",
        "hyperparameters",
        "interrupts",
        "optim",
        "per_task",
        "processes",
        "protocols",
        "records",
        "reader_config",
        "registry",
        "sections",
        "storage",
        "suite",
        "version",
    },
    {"data", "model", "worlds"},
    {"training", "retrieval", "evaluation"},
    {"reader"},
    {"pipeline"},
    {"report", "execution", "integrations"},
    {"cli"},
    {"__main__"},
]


def floor_of(part: str) -> int | None:
    return next((i for i, parts in enumerate(FLOORS) if part in parts), None)


def imported(file: Path) -> list[tuple[int, str]]:
    """Modules that a file imports, anywhere in it, with lines."""
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append((node.lineno, node.module))
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return found


def test_every_part_of_the_package_stands_on_a_floor() -> None:
    parts = {p.stem if p.suffix == ".py" else p.name for p in (ROOT / "mtbench").iterdir()}
    unknown = {p for p in parts if floor_of(p) is None} - {"__init__", "__pycache__", "profiles", "py"}
    assert not {p for p in unknown if not p.startswith(".") and p != "py.typed"}


@pytest.mark.parametrize("file", sorted((ROOT / "mtbench").rglob("*.py")), ids=lambda f: str(f.relative_to(ROOT)))
def test_imports_go_down(file: Path) -> None:
    here = file.relative_to(ROOT / "mtbench").parts[0].removesuffix(".py")
    if here == "__init__":
        return
    for line, module in imported(file):
        top = module.split(".")[0]
        assert top not in ("optimizers", "tasks"), f"{file}:{line}: the registry finds plugins, nothing imports them"
        if top != "mtbench" or module == "mtbench":
            continue
        there = module.split(".")[1]
        if there == here or there == "__version__" or floor_of(there) is None:
            continue
        down = floor_of(there) < floor_of(here) or floor_of(there) == floor_of(here) == 0  # type: ignore[operator]
        assert down, f"{file}:{line}: {here} must not import {there}"


def modules() -> dict[str, Path]:
    """Every module of the house by name."""
    files = [f for top in ("mtbench", "optimizers", "tasks") for f in (ROOT / top).rglob("*.py")]
    names = {".".join(f.relative_to(ROOT).with_suffix("").parts): f for f in files}
    return {name.removesuffix(".__init__"): file for name, file in names.items()}


def test_no_file_imports_itself_however_far_around() -> None:
    known = modules()
    graph = {}
    for name, file in known.items():
        hits = {module for _, module in imported(file) if module in known}
        # `from mtbench.records import files` reads files, not the package
        graph[name] = {m for m in hits if m != name and not any(other.startswith(f"{m}.") for other in hits)}
    try:
        list(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")


def test_contributing_names_every_part() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    missing = [
        part for parts in FLOORS[:-1] for part in parts if f"`{part}`" not in text and f"mtbench/{part}/" not in text
    ]
    assert not missing


@pytest.mark.parametrize("folder", ["optimizers", "tasks"])
def test_plugins_import_only_the_ground_floor(folder: str) -> None:
    for file in sorted((ROOT / folder).glob("*.py")):
        for line, module in imported(file):
            if module.split(".")[0] == "mtbench" and "." in module:
                assert floor_of(module.split(".")[1]) in (0, None), f"{file}:{line}: {module} is above the ground floor"


@pytest.mark.parametrize("arguments", [["--help"], ["ls", "optimizers"], ["ls", "suites"], ["run", "--help"]])
def test_help_and_lists_import_no_heavy_library(arguments: list[str]) -> None:
    code = (
        "import sys; from mtbench.cli.main import main; code = main(sys.argv[1:]);"
        "heavy = {'torch', 'ray', 'transformers', 'pandas', 'matplotlib', 'faiss', 'scipy'} & set(sys.modules);"
        "assert not heavy, heavy; sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
