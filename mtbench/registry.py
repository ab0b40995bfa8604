"""The registries of optimizers and suites: found by reading source files, loaded only when used.

A plugin is found when it stands in ``optimizers/`` (``tasks/``), when an installed package declares it under the
entry point group ``mtbench.optimizers`` (``mtbench.suites``), or when ``--plugin FILE.py`` or the variable
``MTBENCH_PLUGINS`` (paths joined as in PATH) names its file. Names and summaries are read from the syntax tree, so
listing imports neither torch nor a plugin.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import importlib.metadata
import importlib.util
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, cast

from mtbench.errors import EnvironmentMismatchError, PluginError, UnknownNameError
from mtbench.records.record import BASELINES
from mtbench.records.values import Params
from mtbench.storage.places import expanded

if TYPE_CHECKING:
    from mtbench.optim.contract import MultitaskOptimizer
    from mtbench.suite import SuiteDefinition

    class NamedOptimizer(MultitaskOptimizer):
        """An optimizer known by its name alone, as type checkers see it: its hyperparameters are checked when it is
        made."""

        def __init__(self, **hyperparameters: Any) -> None: ...


Kind = Literal["optimizer", "suite"]
_FOLDERS = {"optimizer": "optimizers", "suite": "tasks"}
_COSTS = {"LossWeighting": "losses", "GramWeighting": "gram", "GradientCombining": "elementwise"}
"""Cost classes of the ways to write a method, cheapest first among them; ``mtbench.optim`` declares the same."""
_GROUPS = {"optimizer": "mtbench.optimizers", "suite": "mtbench.suites"}
_COMMANDS = {"optimizer": "mtbench ls optimizers", "suite": "mtbench ls suites"}
_BASES = {
    "optimizer": {"MultitaskOptimizer", "LossWeighting", "GramWeighting", "GradientCombining"},
    "suite": {"SuiteDefinition"},
}
_FIELDS = {"reset_field": True, "preference_field": ""}
"""Defaults of the hyperparameters that many methods share."""
PLUGIN_VARIABLE = "MTBENCH_PLUGINS"
_files: list[str] = []
"""Plugin files that this process was told of, beside those that the variable names."""


@dataclass(frozen=True)
class Entry:
    """One registered name, as read from source."""

    kind: Kind
    name: str
    summary: str
    file: Path | None
    class_name: str
    builtin: bool
    module: str | None = None
    """Set for entry points, which are imported by their module's name."""
    defaults: Params = field(default_factory=dict, compare=False)
    """Of an optimizer: the hyperparameters whose defaults are literals, as every table needs them without torch."""

    cost: str = field(default="", compare=False)
    """Of an optimizer: its cost class, as it or its base class declares; empty where neither does."""

    @property
    def place(self) -> str:
        """Where the plugin comes from, for messages."""
        return str(self.file) if self.file else f"entry point {self.module}:{self.class_name}"

    def source_hash(self) -> str:
        """Hash of the plugin's code without comments and layout; part of what determines a run."""
        if self.file is None:
            return f"{self.module}:{self.class_name}"
        tree = ast.parse(self.file.read_bytes())
        return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:16]


def entries(kind: Kind) -> dict[str, Entry]:
    """All registered names with where they come from. Raises PluginError if two plugins claim one name."""
    found: dict[str, Entry] = {}
    for entry in [*_from_folder(kind), *_from_files(kind), *_from_entry_points(kind)]:
        if kind == "optimizer" and entry.name in BASELINES:
            raise PluginError(
                f"{entry.place}: {entry.name!r} is the name of a baseline\n"
                "  Choose another name (its class variable `name`)."
            )
        other = found.get(entry.name)
        one_file = other is not None and other.file and entry.file and other.file.samefile(entry.file)
        if other is not None and not (one_file and other.class_name == entry.class_name):
            raise PluginError(
                f"two {kind}s are called {entry.name!r}:\n  {other.place}\n  {entry.place}\n"
                "  Rename one of them (its class variable `name`)."
            )
        found.setdefault(entry.name, entry)
    return found


def get_optimizer(name: str) -> type[NamedOptimizer]:
    """The optimizer class registered as ``name``; UnknownNameError if there is none.

    A subclass of ``MultitaskOptimizer``, called with its hyperparameters: ``get_optimizer("tsage")(tau=2.0)``.
    """
    from mtbench.optim.contract import MultitaskOptimizer

    cls = _load(lookup("optimizer", name))
    if not issubclass(cls, MultitaskOptimizer):
        raise PluginError(f"{cls.__name__} ({name}) is not a subclass of mtbench.MultitaskOptimizer")
    return cast("type[NamedOptimizer]", cls)


def get_suite(name: str) -> type[SuiteDefinition]:
    """The suite definition registered as ``name``; UnknownNameError if there is none."""
    from mtbench.suite import SuiteDefinition

    cls = _load(lookup("suite", name))
    if not issubclass(cls, SuiteDefinition):
        raise PluginError(f"{cls.__name__} ({name}) is not a subclass of mtbench.SuiteDefinition")
    return cls


def lookup(kind: Kind, name: str) -> Entry:
    """The entry called ``name``; UnknownNameError with the closest names if there is none."""
    known = entries(kind)
    if name not in known:
        raise UnknownNameError(kind, name, known, _COMMANDS[kind])
    return known[name]


def add_plugin_files(files: Sequence[str]) -> None:
    """Make plugin files known to this process. PluginError for a file that cannot be one."""
    for file in files:
        path = str(expanded(file).resolve())
        if not _read(Path(path), "optimizer") and not _read(Path(path), "suite"):
            raise PluginError(
                f"{file}: no plugin class found. It needs a top-level class that derives from one of "
                f"{', '.join(sorted(_BASES['optimizer'] | _BASES['suite']))} and sets `name`.\n"
                "  Start from: mtbench new optimizer NAME"
            )
        if path not in plugin_files():
            _files.append(path)


def plugin_files() -> list[str]:
    """Files that are known as plugins: those of the variable ``MTBENCH_PLUGINS``, then those that were added."""
    return [p for p in os.environ.get(PLUGIN_VARIABLE, "").split(os.pathsep) if p] + _files


@contextmanager
def plugins_as_they_were() -> Iterator[None]:
    """Files that are added inside are forgotten at the end."""
    before = list(_files)
    try:
        yield
    finally:
        _files[:] = before


def builtin_folder(kind: Kind) -> Path:
    """The folder ``optimizers/`` or ``tasks/`` beside the package mtbench; stops if another package shadows it."""
    folder = Path(__file__).resolve().parents[1] / _FOLDERS[kind]
    spec = importlib.util.find_spec(_FOLDERS[kind])
    seen = Path(spec.origin).resolve().parent if spec and spec.origin else None
    if seen is not None and seen != folder:
        raise EnvironmentMismatchError(
            f"another package called {_FOLDERS[kind]!r} shadows mtbench's:\n  found {seen}\n  expected {folder}\n"
            "  Run mtbench from another folder, or uninstall the other package."
        )
    return folder


def _from_folder(kind: Kind) -> list[Entry]:
    files = sorted(builtin_folder(kind).glob("*.py"))
    return [e for f in files if not f.name.startswith("_") for e in _read(f, kind, builtin=True)]


def _from_files(kind: Kind) -> list[Entry]:
    return [e for p in plugin_files() for e in _read(Path(p), kind)]


@functools.lru_cache
def _entry_points(group: str, path: tuple[str, ...], finder: Any) -> tuple[importlib.metadata.EntryPoint, ...]:
    """Entry points on ``path``: reading them goes through every installed package, and a plan asks a thousand times."""
    return tuple(finder(group=group))


def _from_entry_points(kind: Kind) -> list[Entry]:
    found = []
    for point in _entry_points(_GROUPS[kind], tuple(sys.path), importlib.metadata.entry_points):
        try:
            spec = importlib.util.find_spec(point.module)
            file = Path(spec.origin) if spec and spec.origin else None
            if file is None:
                raise ModuleNotFoundError(f"no module named {point.module!r}")
            classes = _read(file, kind)
        except Exception as error:  # noqa: BLE001 - one broken package must not take the others with it
            warnings.warn(f"{kind} plugin {point.name!r} ({point.value}) is left out: {error}", stacklevel=2)
            continue
        unread = Entry(kind, point.name, "", file, point.attr, builtin=False)
        entry = next((e for e in classes if e.class_name == point.attr), unread)
        found.append(replace(entry, name=point.name, file=file, module=point.module))
    return found


def _read(file: Path, kind: Kind, builtin: bool = False) -> list[Entry]:
    """The plugin classes that a source file declares, without importing it; parsed again only if the file changed."""
    try:
        stat = file.stat()
    except FileNotFoundError:
        raise PluginError(f"plugin file {file} does not exist") from None
    return list(_parse(file, (stat.st_mtime_ns, stat.st_size, stat.st_ino), kind, builtin))


@functools.lru_cache(maxsize=1024)
def _parse(file: Path, state: tuple[int, ...], kind: Kind, builtin: bool) -> tuple[Entry, ...]:
    try:
        tree = ast.parse(file.read_bytes(), filename=str(file))
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise PluginError(f"{file}{f':{line}' if line else ''}: cannot be parsed as Python: {error}") from None
    found = []
    for node in tree.body:
        if not isinstance(node, ast.ClassDef):
            continue
        bases = {b.id if isinstance(b, ast.Name) else getattr(b, "attr", "") for b in node.bases}
        constants = _string_constants(node)
        if "name" in constants and bases & _BASES[kind]:
            summary = constants.get("summary") or (ast.get_docstring(node) or "").split("\n")[0]
            entry = Entry(kind, constants["name"], summary, file.resolve(), node.name, builtin)
            if kind == "optimizer":
                cost = constants.get("cost") or next((_COSTS[base] for base in bases if base in _COSTS), "")
                entry = replace(entry, defaults=_literal_defaults(node, bases), cost=cost)
            found.append(entry)
    return tuple(found)


def _string_constants(node: ast.ClassDef) -> dict[str, str]:
    found = {}
    for item in node.body:
        targets = (
            item.targets if isinstance(item, ast.Assign) else [item.target] if isinstance(item, ast.AnnAssign) else []
        )
        value = getattr(item, "value", None)
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            found.update({t.id: value.value for t in targets if isinstance(t, ast.Name)})
    return found


def _literal_defaults(node: ast.ClassDef, bases: set[str]) -> Params:
    """Hyperparameter -> default of those that a class declares; without those whose default is no literal."""
    found: Params = {"scale": "mean", **({"groups": "whole"} if "GramWeighting" in bases else {})}  # inherited
    for item in node.body:
        if not isinstance(item, ast.AnnAssign) or "ClassVar" in ast.unparse(item.annotation):
            continue
        if isinstance(item.target, ast.Name) and item.value:
            with contextlib.suppress(ValueError):
                found[item.target.id] = _literal_default(item.value)
    return found


def _literal_default(node: ast.expr) -> Any:
    """The default in ``hyper(2.0, ...)``, a shared field or a plain literal; ValueError for anything else."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if node.func.id in _FIELDS:
            return _FIELDS[node.func.id]
        if node.func.id == "hyper" and node.args:
            return ast.literal_eval(node.args[0])
    return ast.literal_eval(node)


def _load(entry: Entry) -> type:
    module = _import(entry)
    try:
        cls: type = getattr(module, entry.class_name)
    except AttributeError:
        raise PluginError(f"{entry.place}: has no class {entry.class_name}") from None
    return cls


def _import(entry: Entry) -> ModuleType:
    """Import a plugin's module; a file is imported once per content, so that an edited plugin is seen."""
    try:
        if entry.module:
            return importlib.import_module(entry.module)
        assert entry.file is not None
        if entry.builtin:
            return importlib.import_module(f"{_FOLDERS[entry.kind]}.{entry.file.stem}")
        name = f"mtbench_plugin_{entry.file.stem}_{entry.source_hash()}"
        if name in sys.modules:
            return sys.modules[name]
        spec = importlib.util.spec_from_file_location(name, entry.file)
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
        return module
    except (Exception, SystemExit) as error:
        said = f"it calls sys.exit({error.code})" if isinstance(error, SystemExit) else str(error)
        raise PluginError(f"{entry.place}: {entry.kind} {entry.name!r} cannot be imported: {said}") from error
