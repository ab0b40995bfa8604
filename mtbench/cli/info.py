"""mtbench info: everything about one optimizer, suite, protocol or profile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NotRequired, TypedDict

import typer

from mtbench.cli import common
from mtbench.cli.options import Json, Plugins

if TYPE_CHECKING:
    from mtbench.records.values import Settings
    from mtbench.suite import Suite


def command(
    name: Annotated[
        str, typer.Argument(help="An optimizer, a suite, a protocol, a profile, or a folder with a suite.toml.")
    ],
    plugin: Plugins = None,
    json: Json = False,
) -> None:
    """Show hyperparameters with types, ranges and defaults, paper and file; or a suite's tasks, sources, licences."""
    from mtbench.registry import add_plugin_files

    add_plugin_files(plugin or [])
    facts = describe(name)
    if json:
        common.emit_json(facts)
    else:
        for key, value in facts.items():
            _print(key, value)


class HyperparameterRow(TypedDict):
    """One hyperparameter as it is declared."""

    name: str
    type: str
    default: object
    allowed: str
    help: str


class OptimizerFacts(TypedDict):
    """What an optimizer declares about itself."""

    name: str
    kind: str
    summary: str
    paper: str
    cost: str
    state: str
    length: NotRequired[str]
    file: str
    description: str
    hyperparameters: list[HyperparameterRow]


class SuiteFacts(TypedDict):
    """What a suite declares about itself. ``profiles`` and ``downloads``: of a registered one;
    ``settings``: what it carries for the profile mini."""

    name: str
    kind: str
    version: int
    metric: str
    tasks: list[str]
    corpora: list[str]
    licences: list[str]
    sources: list[str]
    profiles: NotRequired[str]
    file: str
    weights: NotRequired[list[str]]
    settings: NotRequired[list[str]]
    downloads: NotRequired[list[str]]


class ProtocolFacts(TypedDict):
    """What a protocol is. ``row``: what its rows on a board are called."""

    name: str
    kind: str
    summary: str
    runs: str
    starts: list[str]
    trained_on: str
    serves: str
    row: str
    description: str


class ProfileFacts(TypedDict):
    """What a profile says. ``extends``: the profiles beneath, nearest first; ``settings``: all that differ from the
    defaults, as ``--set`` takes them."""

    name: str
    kind: str
    description: str
    extends: list[str]
    settings: list[str]
    file: str


def describe(name: str) -> OptimizerFacts | SuiteFacts | ProtocolFacts | ProfileFacts:
    """Plain values about an optimizer, suite, protocol or profile; UnknownNameError with the closest names of all
    kinds."""
    from mtbench.config import profile_file, profiles
    from mtbench.errors import UnknownNameError
    from mtbench.protocols.catalogue import PROTOCOLS
    from mtbench.registry import entries
    from mtbench.storage.places import expanded

    optimizers, suites = entries("optimizer"), entries("suite")
    if name in optimizers:
        return _optimizer(name)
    if name in suites:
        return _registered_suite(name)
    if name in PROTOCOLS:
        return _protocol(name)
    if name in profiles() or (name.endswith(".toml") and profile_file(name) is not None):
        return _profile(name)
    if expanded(name).is_dir():
        from mtbench.data.loading import load_suite

        return _suite(load_suite(name, "mini"), name)
    raise UnknownNameError(
        "optimizer, suite, protocol or profile",
        name,
        [*optimizers, *suites, *PROTOCOLS, *profiles()],
        "mtbench ls optimizers; mtbench ls suites; mtbench ls protocols; mtbench ls profiles",
    )


def _profile(name: str) -> ProfileFacts:
    from itertools import takewhile

    from mtbench.config import PROFILE_FOLDER, profile_file, profile_lineage, profile_settings

    place = profile_file(name) or PROFILE_FOLDER / f"{name}.toml"
    head = takewhile(lambda line: line.startswith("#"), place.read_text(encoding="utf-8-sig").splitlines())
    return {
        "name": name,
        "kind": "profile",
        "description": " ".join(line.lstrip("# ") for line in head),
        "extends": [base for base, _ in profile_lineage(name)][1:],
        "settings": [f"{key} = {value}" for key, value in profile_settings(name).items()],
        "file": str(place),
    }


def _protocol(name: str) -> ProtocolFacts:
    from mtbench.protocols.catalogue import PROTOCOLS

    protocol = PROTOCOLS[name]
    return {
        "name": name,
        "kind": "protocol",
        "summary": protocol.summary,
        "runs": protocol.runs,
        "starts": list(protocol.starts) or ["encoder"],
        "trained_on": protocol.trained,
        "serves": protocol.serves,
        "row": protocol.row,
        "description": protocol.description,
    }


COSTS = {
    "losses": "losses only: one accumulated backward pass, no task gradient is kept",
    "norms": "norms: task gradients pass one at a time, O(d) memory",
    "gram": "Gram: K task gradients are kept once, K x K mathematics in float64",
    "elementwise": "elementwise: work on all K x d numbers of the task gradients",
}


def _optimizer(name: str) -> OptimizerFacts:
    import inspect

    from mtbench.hyperparameters import hyperparameters
    from mtbench.registry import get_optimizer, lookup

    cls, entry = get_optimizer(name), lookup("optimizer", name)
    cost = getattr(cls, "cost", "not declared")
    return {
        "name": name,
        "kind": "optimizer",
        "summary": entry.summary,
        "paper": cls.paper,
        "cost": COSTS.get(cost, cost),
        "state": ", ".join(cls.state) or "none",
        **_length(cls.rescales),
        "file": entry.place,
        "description": inspect.getdoc(cls) or "",
        "hyperparameters": [
            {"name": h.name, "type": h.type_name, "default": h.default, "allowed": h.allowed, "help": h.help}
            for h in hyperparameters(cls).values()
        ],
    }


class _Length(TypedDict, total=False):
    length: str


def _length(rescales: bool) -> _Length:
    if not rescales:
        return {}
    return {"length": "not that of the mean gradient: with train.base=sgd the method needs a train.lr of its own"}


def _registered_suite(name: str) -> SuiteFacts:
    from pathlib import Path

    from mtbench.registry import get_suite, lookup

    definition = get_suite(name)
    facts = _suite(definition().suite(Path("raw"), definition.profiles[-1]), lookup("suite", name).place)
    _add_settings(facts, definition.settings)
    facts["profiles"] = ", ".join(definition.profiles)
    facts["downloads"] = [
        f"{d.path} ({d.size or '?'} bytes): {d.urls[0] if d.urls else d.manual}" for d in definition.downloads
    ]
    return facts


def _suite(suite: Suite, place: str) -> SuiteFacts:
    from mtbench.per_task import read_per_task

    facts: SuiteFacts = {
        "name": suite.name,
        "kind": "suite",
        "version": suite.version,
        "metric": suite.metric,
        "tasks": [
            f"{t.name} ({t.title or t.name}; {t.family}; corpus {t.corpus}; {t.query_max_length} tokens)"
            for t in suite.tasks
        ],
        "corpora": [f"{c.name} ({c.format}; {c.passage_max_length} tokens)" for c in suite.corpora],
        "licences": [f"{part}: {text}" for part, text in suite.licences.items()],
        "sources": [f"{part}: {text}" for part, text in suite.sources.items()],
        "file": place,
    }
    if suite.weights:
        place = f"suite {suite.name}: weights:"
        facts["weights"] = [f"@{name} = {read_per_task(found, place).text}" for name, found in suite.weights.items()]
    _add_settings(facts, suite.settings)
    return facts


def _add_settings(facts: SuiteFacts, settings: Settings) -> None:
    """What the suite carries for the profile mini, as ``--set`` takes it."""
    from mtbench.config import METHODS

    if settings:
        tables = {**settings, **settings.get(METHODS, {})}
        tables.pop(METHODS, None)
        facts["settings"] = [f"{name}.{key} = {value}" for name, its in tables.items() for key, value in its.items()]


def _print(key: str, value: object) -> None:
    if isinstance(value, list):
        _echo(f"{key}:")
        for item in value:
            _echo(f"  {item if isinstance(item, str) else _hyperparameter(item)}")
    elif "\n" in str(value):
        _echo(f"{key}:")
        for line in str(value).splitlines():
            _echo(f"  {line}".rstrip())
    else:
        _echo(f"{key}: {value}")


def _echo(line: str) -> None:
    """A line, wrapped between words where the terminal is narrower; what follows is indented two more."""
    import shutil
    import textwrap

    width = max(40, shutil.get_terminal_size((120, 24)).columns)
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    wrapped = textwrap.wrap(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    typer.echo("\n".join(wrapped) if len(line) > width else line)


def _hyperparameter(item: HyperparameterRow) -> str:
    text = f"{item['name']} = {item['default']!r}  ({item['allowed']})"
    return text + (f"  {item['help']}" if item["help"] else "")
