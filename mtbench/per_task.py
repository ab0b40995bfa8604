"""Numbers per task: read in any form, written in one, and turned into K numbers once the tasks are known.

The forms: ``nq:2,fever:0.5`` (``*:0`` is the number of all others, 1 if it is not said), as many numbers as there are
tasks, in their order (``2,0.5,1``), the same as a mapping or a sequence, JSON, a file of it (``@FILE.json``), or the
name of a set that a suite declares (``@NAME``, the table ``[weights.NAME]`` of its suite.toml).
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from mtbench.errors import ConfigError, shown
from mtbench.storage.places import expanded

PerTask: TypeAlias = str | Mapping[str, float] | Sequence[float]
"""The type of a hyperparameter that holds a number per task; a method reads it by ``self.per_task(name)``."""

OTHERS = "*"
USUAL = 1.0
"""The number of a task that nothing says anything about."""
FORMS = "nq:2,fever:0.5 (*:V for the others, else 1), one number for each task in order, @NAME of the suite, @FILE.json"


@dataclass(frozen=True)
class TaskNumbers:
    """What was written: numbers by task name, numbers in the tasks' order, or the name of a suite's set."""

    by_name: tuple[tuple[str, float], ...] = ()
    """Sorted by name; :data:`OTHERS` may be among them."""
    in_order: tuple[float, ...] = ()
    set_name: str = ""

    @property
    def text(self) -> str:
        """The one way to write it; empty where nothing is said."""
        if self.set_name:
            return f"@{self.set_name}"
        named = [f"{name}:{number_text(value)}" for name, value in self.by_name]
        return ",".join(named or [number_text(value) for value in self.in_order])

    @property
    def values(self) -> tuple[float, ...]:
        """The numbers that are said."""
        return self.in_order or tuple(value for _, value in self.by_name)

    def numbers(self, num_tasks: int, names: Sequence[str] | None, place: str) -> list[float]:
        """The K numbers. ConfigError, beginning with ``place``, for another count, an unknown task, or zeros alone."""
        if self.set_name:
            raise ConfigError(f"{place} @{self.set_name}: sets have names in a suite's suite.toml; write the numbers")
        known = "" if names is None else f" ({', '.join(names)})"
        if self.in_order and len(self.in_order) != num_tasks:
            raise ConfigError(f"{place} {len(self.in_order)} numbers for {num_tasks} tasks{known}, got {self.text!r}")
        found = list(self.in_order)
        if not found:
            own = dict(self.by_name)
            others = own.pop(OTHERS, USUAL)
            if own and names is None:
                raise ConfigError(f"{place} {self.text!r} names tasks, and start() was given no task_names")
            for name in own:
                if names is not None and name not in names:
                    close = difflib.get_close_matches(name, names, n=1)
                    hint = f" Did you mean {close[0]!r}?" if close else ""
                    raise ConfigError(f"{place} there is no task {name!r}.{hint} Tasks: {', '.join(names)}")
            found = [own.get(name, others) for name in (names or [OTHERS] * num_tasks)]
        if not any(found):
            raise ConfigError(f"{place} every task has 0; at least one needs more, got {self.text!r}")
        return found


def by_name(names: Sequence[str], numbers: Sequence[float]) -> TaskNumbers:
    """The numbers of all tasks, as they are written once the tasks are known: by name, without those that are 1."""
    return TaskNumbers(tuple(sorted((n, v) for n, v in zip(names, numbers, strict=True) if v != USUAL)))


def number_text(value: float) -> str:
    """The shortest text that reads as ``value``: 2.0 as ``2``."""
    return repr(float(value)).removesuffix(".0")


def read_per_task(value: Any, place: str) -> TaskNumbers:
    """What ``value``, in any of the forms, says. ConfigError, beginning with ``place``, for what is none of them."""
    if isinstance(value, str):
        return _from_text(value.strip(), place)
    if isinstance(value, Mapping):
        return _named([(name, number) for name, number in value.items()], place)
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return TaskNumbers(in_order=tuple(_number(v, place) for v in value))
    raise ConfigError(f"{place} must be {FORMS}; got {shown(value)}")


def _from_text(text: str, place: str) -> TaskNumbers:
    if text.startswith("@"):
        return _from_file(text[1:], place) if text.endswith(".json") else TaskNumbers(set_name=_set_name(text, place))
    if text.startswith(("{", "[")):
        return read_per_task(_json(text, place), place)
    items = [item.strip() for item in text.split(",")] if text else []
    if not any(":" in item for item in items):
        return TaskNumbers(in_order=tuple(_number_from(item, place) for item in items))
    pairs = [item.rpartition(":") for item in items]
    unnamed = next((number for name, _, number in pairs if not name.strip()), None)
    if unnamed is not None:
        raise ConfigError(f"{place} {unnamed!r} belongs to no task; write TASK:NUMBER for each, got {text!r}")
    return _named([(name.strip(), _number_from(number, place)) for name, _, number in pairs], place)


def _set_name(text: str, place: str) -> str:
    if not text[1:].strip():
        raise ConfigError(f"{place} '@' needs the name of a set or of a file, as @NAME or @FILE.json")
    return text[1:].strip()


def _from_file(name: str, place: str) -> TaskNumbers:
    file = expanded(name)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "is not UTF-8"
        raise ConfigError(f"{place} @{name} cannot be read: {said}") from None
    found = _json(text, f"{place} {file}:")
    if isinstance(found, str):
        raise ConfigError(f"{place} {file}: must be an object of task and number, or a list of numbers")
    return read_per_task(found, f"{place} {file}:")


def _json(text: str, place: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=lambda pairs: _distinct(pairs, place))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{place} is no JSON: {error}") from None


def _distinct(pairs: Sequence[tuple[str, Any]], place: str) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"{place} names the task {twice!r} twice")
    return dict(pairs)


def _named(pairs: Sequence[tuple[Any, Any]], place: str) -> TaskNumbers:
    for name, _ in pairs:
        if not isinstance(name, str) or not name.strip() or name[0] == "@" or {*name} & {*",;{}[]"}:
            raise ConfigError(f"{place} {shown(name)} cannot be the name of a task here (no ',', ';', brackets)")
    found = _distinct(pairs, place)
    return TaskNumbers(tuple(sorted((name, _number(value, place)) for name, value in found.items())))


def _number(value: Any, place: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigError(f"{place} {shown(value)} is no number; write {FORMS}")
    try:
        return float(value)
    except OverflowError:
        raise ConfigError(f"{place} {shown(value)} is larger than any float") from None


def _number_from(text: str, place: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"{place} {shown(text)} is no number; write {FORMS}") from None
