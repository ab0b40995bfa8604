"""Suites in a folder: ``suite.toml``, checked key by key before any data are read."""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import Any

from mtbench.errors import DataError
from mtbench.suite import FAMILIES, METRICS, Corpus, Suite, Task

FILE_NAME = "suite.toml"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SUITE_KEYS: dict[str, type] = {
    "name": str, "version": int, "metric": str, "title": str, "corpus": dict, "task": list,
    "licences": dict, "sources": dict,
}  # fmt: skip
_CORPUS_KEYS: dict[str, type] = {"path": str, "format": str, "passage_max_length": int, "options": dict}
_TASK_KEYS: dict[str, type] = {
    "name": str, "corpus": str, "queries": str, "train_qrels": str, "dev_qrels": str, "title": str, "family": str,
    "prompt": str, "query_max_length": int, "kilt_dev": str, "dev_corpus": str, "format": str, "options": dict,
}  # fmt: skip


class _Source:
    """The text of a suite.toml, for the line numbers of complaints."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.text = path.read_text("utf-8")
            self.table = tomllib.loads(self.text)
        except UnicodeDecodeError as error:
            raise DataError("is not UTF-8", path=path) from error
        except tomllib.TOMLDecodeError as error:
            found = re.search(r"at line (\d+)", str(error))
            raise DataError(
                f"not valid TOML: {error}", path=path, line=int(found.group(1)) if found else None
            ) from error

    def line(self, section: str, number: int, key: str) -> int | None:
        """Line of ``key`` in the ``number``-th table opened by ``section`` ('' for the top of the file)."""
        seen, inside = -1, section == ""
        start = None
        for index, line in enumerate(self.text.splitlines(), 1):
            stripped = line.strip()
            if stripped.startswith("["):
                seen += stripped.startswith(section) and section != ""
                inside = stripped.startswith(section) and seen == number and section != ""
                start = index if inside else start
            elif inside and re.match(rf'"?{re.escape(key)}"?\s*=', stripped):
                return index
        return start

    def fail(self, section: str, number: int, key: str, message: str, remedy: str | None = None) -> DataError:
        where = f"{section} " if section else ""
        return DataError(
            f"{where}{key}: {message}", path=self.path, line=self.line(section, number, key), remedy=remedy
        )


def read_suite_folder(folder: Path) -> Suite:
    """The suite declared by ``folder/suite.toml``; DataError naming file, line and key for anything wrong."""
    path = folder / FILE_NAME
    if not path.is_file():
        raise DataError(f"no {FILE_NAME} in this folder", path=folder, remedy="Make one: mtbench new suite NAME")
    source = _Source(path)
    table = source.table
    _check_keys(source, "", 0, table, _SUITE_KEYS, ("name", "version", "metric", "corpus", "task"))
    _check_name(source, "", 0, table["name"])
    if table["version"] < 1:
        raise source.fail("", 0, "version", f"must be at least 1, found {table['version']}")
    _check_choice(source, "", 0, "metric", table["metric"], METRICS)
    corpora = tuple(_corpus(source, name, value) for name, value in table["corpus"].items())
    tasks = tuple(_task(source, number, value) for number, value in enumerate(table["task"]))
    if not corpora or not tasks:
        raise DataError("a suite needs at least one corpus and one task", path=path)
    suite = Suite(
        table["name"], table["version"], table["metric"], corpora, tasks, folder,
        table.get("title", ""), table.get("licences", {}), table.get("sources", {}),
    )  # fmt: skip
    _check_references(source, suite)
    return suite


def _check_keys(
    source: _Source, section: str, number: int, table: Any, keys: dict[str, type], needed: tuple[str, ...]
) -> None:
    if not isinstance(table, dict):
        raise source.fail(section, number, "", "must be a table")
    for key, value in table.items():
        if key not in keys:
            close = difflib.get_close_matches(key, keys, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"Known keys: {', '.join(keys)}."
            raise source.fail(section, number, key, "unknown key", hint)
        if not isinstance(value, keys[key]) or isinstance(value, bool):
            raise source.fail(section, number, key, f"must be of type {keys[key].__name__}, found {value!r}")
        if keys[key] is str and not value and key not in ("title", "prompt"):
            raise source.fail(section, number, key, "must not be empty")
    for key in needed:
        if key not in table:
            raise source.fail(section, number, key, "missing", f"Add {key} = ...")


def _check_name(source: _Source, section: str, number: int, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise source.fail(section, number, "name", f"letters, digits, '.', '_' and '-' only, found {name!r}")


def _check_choice(source: _Source, section: str, number: int, key: str, value: str, known: Any) -> None:
    if value not in known:
        close = difflib.get_close_matches(value, known, n=1)
        hint = (f"Did you mean {close[0]!r}? " if close else "") + f"Known: {', '.join(known)}."
        raise source.fail(section, number, key, f"unknown value {value!r}", hint)


def _positive(source: _Source, section: str, number: int, table: dict[str, Any], key: str) -> None:
    if table.get(key, 1) < 1:
        raise source.fail(section, number, key, f"must be at least 1, found {table[key]}")


def _corpus(source: _Source, name: str, table: Any) -> Corpus:
    section = f"[corpus.{name}]"
    _check_keys(source, section, 0, table, _CORPUS_KEYS, ("path",))
    _check_name(source, section, 0, name)
    _check_choice(source, section, 0, "format", table.get("format", "beir"), CORPUS_FORMATS)
    _positive(source, section, 0, table, "passage_max_length")
    return Corpus(name=name, **table)


def _task(source: _Source, number: int, table: Any) -> Task:
    section = "[[task]]"
    needed = ("name", "corpus", "queries", "train_qrels", "dev_qrels")
    _check_keys(source, section, number, table, _TASK_KEYS, needed)
    _check_name(source, section, number, table["name"])
    _check_choice(source, section, number, "family", table.get("family", "qa"), FAMILIES)
    _check_choice(source, section, number, "format", table.get("format", "beir"), TASK_FORMATS)
    _positive(source, section, number, table, "query_max_length")
    return Task(**{"title": table["name"], "prompt": table["name"].upper(), **table})


CORPUS_FORMATS = ("beir", "psgs_w100", "kilt_knowledge", "msmarco", "zeshel")
TASK_FORMATS = ("beir", "kilt", "msmarco", "zeshel")


def _check_references(source: _Source, suite: Suite) -> None:
    """Names that must exist, be unique or fit together across tables."""
    names = [corpus.name for corpus in suite.corpora]
    seen: set[str] = set()
    for number, task in enumerate(suite.tasks):
        if task.name in seen:
            raise source.fail("[[task]]", number, "name", f"a second task is called {task.name!r}", "Rename one.")
        seen.add(task.name)
        for key in ("corpus", "dev_corpus"):
            value = getattr(task, key)
            if value is not None and value not in names:
                raise source.fail(
                    "[[task]]", number, key, f"there is no [corpus.{value}]", f"Known: {', '.join(names)}."
                )
        if suite.metric == "rprecision_page" and task.kilt_dev is None:
            raise source.fail(
                "[[task]]", number, "kilt_dev", "the metric rprecision_page needs the gold pages of the dev queries",
                "Add kilt_dev, or choose another metric, e.g. rprecision_passage.",
            )  # fmt: skip
