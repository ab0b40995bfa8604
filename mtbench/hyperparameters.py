"""Typed hyperparameters: the annotated fields of a multitask optimizer, with ranges that are checked.

``tau: float = hyper(2.0, help="temperature", nonzero=True)`` in a class body declares one. Everything that shows,
parses or checks hyperparameters (``mtbench info``, ``--set``, sweeps, plugins' conformance) reads these declarations.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

from mtbench.errors import ConfigError, shown
from mtbench.per_task import FORMS, PerTask, by_name, read_per_task

Search: TypeAlias = tuple[float, float, str] | list[Any] | Literal["dirichlet"]
"""``(low, high, "log")`` or ``(low, high, "linear")``, a list of values, or ``dirichlet`` for numbers per task: shares
that are uniform over the simplex, times K."""


@dataclasses.dataclass(frozen=True)
class Hyperparameter:
    """One declared hyperparameter: its type, default, range and one line of help."""

    name: str
    kind: type
    default: Any
    help: str = ""
    choices: tuple[Any, ...] = ()
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    nonzero: bool = False
    since: int = 1
    """When it was added; 1: it was there when specifications began (schema 1)."""
    per_task: bool = False
    """Whether it holds a number per task: its value is the text of :class:`mtbench.per_task.TaskNumbers`, and the
    range is that of each number."""
    search: Search | None = None
    """What ``mtbench tune`` draws values from; None: it leaves the default."""

    def __post_init__(self) -> None:
        """ConfigError for a search range that no value can come from."""
        if not self._can_search():
            raise ConfigError(
                f"hyperparameter {self.name}: search={shown(self.search)}: expected (low, high, 'log' or 'linear') "
                "with low < high (above 0 for log), a list of values, or 'dirichlet' for numbers per task; each "
                f"{self.allowed}"
            )

    def _can_search(self) -> bool:
        search = self.search
        if search is None or self.per_task or search == "dirichlet":
            return search is None or (self.per_task and search == "dirichlet")
        if isinstance(search, list):
            return bool(search) and all(isinstance(value, self.kind) and self._in_range(value) for value in search)
        if not isinstance(search, tuple) or len(search) != 3 or self.kind not in (int, float) or self.choices:
            return False
        low, high, scale = search
        ends = self._in_range(self.kind(low)) and self._in_range(self.kind(high))
        return ends and low < high and (scale == "linear" or (scale == "log" and low > 0))

    @property
    def type_name(self) -> str:
        """The type in a word or two."""
        return f"{self.kind.__name__} per task" if self.per_task else self.kind.__name__

    @property
    def late(self) -> bool:
        """Whether it is absent from specifications and fingerprints while it has its default, for it came later: what
        ran before it existed keeps its id."""
        return self.since > 1

    @property
    def allowed(self) -> str:
        """The allowed values in words, such as ``float in [0, 1)`` or ``one of 'mean', 'sum'``."""
        if self.choices:
            return "one of " + ", ".join(repr(c) for c in self.choices)
        if self.kind is bool:
            return "true or false"
        low = f"[{self.ge:g}" if self.ge is not None else f"({self.gt:g}" if self.gt is not None else "(-inf"
        high = f"{self.le:g}]" if self.le is not None else f"{self.lt:g})" if self.lt is not None else "inf)"
        text = self.type_name
        if (self.ge, self.gt, self.le, self.lt) != (None, None, None, None):
            text += f" in {low}, {high}"
        text += " except 0" if self.nonzero else ""
        return f"{text}: {FORMS}" if self.per_task else text

    def check(self, value: Any, owner: str) -> Any:
        """``value`` in this hyperparameter's type, or ConfigError naming the field, the range and the value."""
        if self.per_task:
            return self._check_per_task(value, f"{owner}: {self.name}:")
        given = value
        if self.kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value) if abs(value) < sys.float_info.max else math.inf
        typed = isinstance(value, self.kind) and not (self.kind is int and isinstance(value, bool))
        if not typed or not self._in_range(value):
            raise ConfigError(f"{owner}: {self.name} must be {self.allowed}, got {shown(given)}")
        return value

    def _check_per_task(self, value: Any, place: str) -> str:
        """The text of the numbers that ``value`` says, whatever its form, each in range."""
        found = read_per_task(value, place)
        for number in found.values:
            if not self._in_range(number):
                raise ConfigError(f"{place} each must be {self.allowed}; got {number:g} in {shown(value)}")
        return found.text

    def by_task(
        self,
        text: str,
        names: Sequence[str],
        owner: str,
        sets: Mapping[str, PerTask],
        kept: Sequence[str] | None = None,
    ) -> str:
        """The text of a number per task by the names of the K tasks. ``sets``: what ``@NAME`` may stand for.
        ``kept``: the tasks that are trained on; None: all.

        ConfigError for an unknown set or task, another count than K, or zeros alone.
        """
        place = f"{owner}: {self.name}:"
        found = read_per_task(text, place)
        if found.set_name:
            if found.set_name not in sets:
                known = ", ".join(sorted(sets)) or "none; declare [weights.NAME] in suite.toml"
                raise ConfigError(f"{place} the suite has no set @{found.set_name}. Sets: {known}")
            place = f"{place} @{found.set_name}:"
            found = read_per_task(self._check_per_task(sets[found.set_name], place), place)
        numbers = dict(zip(names, found.numbers(len(names), names, place), strict=True))
        chosen = [numbers[name] for name in kept or names]
        if not any(chosen):
            raise ConfigError(f"{place} every task that is trained on has 0: {', '.join(kept or names)}")
        return by_name(kept or names, chosen).text

    def _in_range(self, value: Any) -> bool:
        if self.choices:
            return value in self.choices
        if self.kind not in (int, float):
            return True
        return (
            (math.isfinite(value) if self.kind is float else abs(value) < 2**63)  # what JSON and tensors hold
            and (self.ge is None or value >= self.ge)
            and (self.gt is None or value > self.gt)
            and (self.le is None or value <= self.le)
            and (self.lt is None or value < self.lt)
            and not (self.nonzero and value == 0)
        )

    def parse(self, text: str, owner: str) -> Any:
        """The value written as ``text`` on a command line, checked; ConfigError if it cannot be one."""
        value: Any = text
        try:
            if self.per_task:
                pass
            elif self.kind is bool:
                value = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[text.lower()]
            elif self.kind is int or (self.kind is float):
                value = self.kind(text)
        except (KeyError, ValueError):
            raise ConfigError(f"{owner}: {self.name} must be {self.allowed}, got {shown(text)}") from None
        return self.check(value, owner)


def hyper(
    default: Any,
    *,
    help: str = "",
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    nonzero: bool = False,
    since: int = 1,
    per_task: bool = False,
    search: Search | None = None,
) -> Any:
    """Declare a hyperparameter with its default, help and range (``ge``/``gt`` below, ``le``/``lt`` above).

    ``per_task``: a number for each task, ``weights: PerTask = hyper("", per_task=True, ge=0)``; the default ``""`` is 1
    for every task, and ``self.per_task("weights")`` gives the K numbers from ``start`` on. The range is each number's.

    ``search``: what ``mtbench tune`` draws from, ``(0.5, 8, "log")``, ``(0, 1, "linear")`` or a list of values; without
    one it tunes the learning rate alone.

    One that is added to a method whose runs have been recorded needs ``since=2``: at its default, which must be the old
    behaviour, it then leaves the ids of those runs as they are.
    """
    limits: dict[str, Any] = {"help": help, "ge": ge, "gt": gt, "le": le, "lt": lt, "nonzero": nonzero, "since": since}
    limits |= {"per_task": per_task, "search": search}
    return dataclasses.field(default=default, metadata={"mtbench": limits})


def hyperparameters(cls: type) -> dict[str, Hyperparameter]:
    """The declared hyperparameters of an optimizer class, by name, in the order of declaration (base class last)."""
    return dict(_declarations(cls))


@functools.cache
def _declarations(cls: type) -> dict[str, Hyperparameter]:
    hints = typing.get_type_hints(cls)
    found = {f.name: _declared(f, hints[f.name], cls) for f in dataclasses.fields(cls) if f.init}
    bases = [c for c in cls.__mro__[1:] if c.__module__.startswith("mtbench.optim.") and dataclasses.is_dataclass(c)]
    shared = {f.name for c in bases for f in dataclasses.fields(c)}
    return {n: found[n] for n in sorted(found, key=lambda n: n in shared)}


def _declared(field: dataclasses.Field[Any], hint: Any, cls: type) -> Hyperparameter:
    if field.default is dataclasses.MISSING:
        raise ConfigError(
            f"{cls.__name__}: the hyperparameter {field.name!r} has no default\n"
            f"  Write: {field.name}: float = hyper(1.0, ge=0, help=...)"
        )
    limits = dict(field.metadata.get("mtbench", {}))
    if limits.get("per_task") or hint == PerTask:
        if not limits.get("per_task") or hint != PerTask:
            raise ConfigError(
                f"{cls.__name__}: the hyperparameter {field.name!r} has the type {hint!r}\n"
                f'  Numbers per task: {field.name}: PerTask = hyper("", per_task=True, ge=0, help=...)'
            )
        return Hyperparameter(field.name, float, field.default, **limits)
    if typing.get_origin(hint) is Literal:
        choices = typing.get_args(hint)
        return Hyperparameter(field.name, type(choices[0]), field.default, choices=choices, **limits)
    if isinstance(hint, types.UnionType) or hint not in (int, float, bool, str):
        raise ConfigError(
            f"hyperparameter {field.name!r} has the type {hint!r}; allowed are int, float, bool, str and Literal[...]"
        )
    return Hyperparameter(field.name, hint, field.default, **limits)
