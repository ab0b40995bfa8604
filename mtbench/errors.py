"""Errors that a user can cause, each with what is wrong, where, and what to do.

Everything derived from :class:`MtbenchError` reaches the terminal as one message without a traceback. The exit
code is a property of the class: 2 for usage, configuration and data, 1 for a run that failed.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from os import PathLike


class MtbenchError(Exception):
    """Base of all errors that are shown as one message. ``exit_code`` is the process's exit status."""

    exit_code = 2


class ConfigError(MtbenchError):
    """A setting or hyperparameter is unknown, of the wrong type or out of its range."""


class UsageError(MtbenchError):
    """The command line asks for something that does not exist or does not fit together."""


class PluginError(MtbenchError):
    """A plugin cannot be loaded, or two plugins claim one name."""


class EnvironmentMismatchError(MtbenchError):
    """The installation is not usable: a missing library, a shadowed package, two FAISS builds."""


class DataError(MtbenchError):
    """A data file is missing or malformed. The message starts with ``file:line:`` where a line is known."""

    def __init__(
        self,
        message: str,
        *,
        path: str | PathLike[str] | None = None,
        line: int | None = None,
        remedy: str | None = None,
    ) -> None:
        self.path, self.line, self.remedy = path, line, remedy
        place = f"{self.place}: " if self.place is not None else ""
        super().__init__(place + message + (f"\n  {remedy}" if remedy else ""))

    @property
    def place(self) -> str | None:
        """``file:line``, or the file alone; None where neither is known."""
        if self.path is None:
            return None
        return f"{self.path}" if self.line is None else f"{self.path}:{self.line}"


class StoreError(MtbenchError):
    """The store cannot be written or read (full disk, permissions, a damaged stage that cannot be rebuilt)."""

    exit_code = 1


class RunError(MtbenchError):
    """A run failed while computing: a non-finite loss, no memory, a dead worker."""

    exit_code = 1


def is_mistake(error: BaseException) -> bool:
    """Whether usage, configuration or data are to blame: asking again in the same way gives the same."""
    return isinstance(error, MtbenchError) and error.exit_code == 2


def mistake_of(kind: str, message: str) -> MtbenchError | None:
    """The mistake of class ``kind`` that another process reports; None if it is none."""
    cls = globals().get(kind)
    if not (isinstance(cls, type) and issubclass(cls, MtbenchError) and cls.exit_code == 2):
        return None
    return UsageError(message) if cls is UnknownNameError else cls(message)


class UnknownNameError(MtbenchError):
    """A name is not in a registry. The message gives the closest names, all names and the command that lists them."""

    def __init__(self, kind: str, name: str, known: Iterable[str], command: str) -> None:
        self._parts = kind, name, sorted(known), command
        self.name, self.known = name, sorted(known)
        by_letters = {k.casefold(): k for k in reversed(self.known)}
        close = difflib.get_close_matches(name.casefold(), by_letters, n=3, cutoff=0.5)
        self.closest = [by_letters[k] for k in close]
        hint = f" Did you mean {' or '.join(repr(c) for c in self.closest)}?" if self.closest else ""
        listing = ", ".join(self.known) or "none"
        super().__init__(f"unknown {kind} {name!r}.{hint}\n  Known: {listing}.\n  List them with: {command}")

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        """An exception is built again from its message otherwise, when it comes back from another process."""
        return type(self), self._parts


def shown(value: object, limit: int = 80) -> str:
    """``repr`` for a message: cut after ``limit`` characters, and safe for integers that Python refuses to print."""
    try:
        text = repr(value)
    except ValueError:  # more than 4,300 digits
        return "a number with thousands of digits"
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text):,} characters)"
