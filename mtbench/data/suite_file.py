"""Suites in a folder: ``suite.toml``, checked key by key before any data are read."""

from __future__ import annotations

import difflib
import json
import math
import re
import tomllib
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from mtbench.config import METHODS, build_config, check_method_tables
from mtbench.errors import ConfigError, DataError, shown
from mtbench.records.values import Settings
from mtbench.suite import FAMILIES, METRICS, Corpus, Suite, Task

FILE_NAME = "suite.toml"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SUITE_KEYS: dict[str, type] = {
    "name": str, "version": int, "metric": str, "title": str, "corpus": dict, "task": list,
    "licences": dict, "sources": dict, "weights": dict, "settings": dict,
}  # fmt: skip
_CORPUS_KEYS: dict[str, type] = {"path": str, "format": str, "passage_max_length": int, "options": dict}
_TASK_KEYS: dict[str, type] = {
    "name": str, "corpus": str, "queries": str, "train_qrels": str, "dev_qrels": str, "title": str, "family": str,
    "prompt": str, "query_max_length": int, "kilt_dev": str, "dev_corpus": str, "format": str, "options": dict,
    "ignore_identical_ids": bool, "test": str,
}  # fmt: skip


_OPTIONS: dict[str, type] = {
    "words": int, "context_words": int, "sample": int, "sample_seed": int, "bleu_threshold": float,
    "mention_left_words": int, "mention_right_words": int, "positives": str, "paths": list,
}  # fmt: skip
"""Types of the options that readers know; those ending in ``_file`` and ``_files`` name files."""


class _Source:
    """The text of a suite.toml, for the line numbers of complaints."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.text = path.read_text("utf-8-sig")
            self.table = tomllib.loads(self.text)
        except UnicodeDecodeError as error:
            raise DataError("is not UTF-8", path=path) from error
        except (ValueError, RecursionError) as error:
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
        table.get("title", ""), table.get("licences", {}), table.get("sources", {}), table.get("weights", {}),
        table.get("settings", {}),
    )  # fmt: skip
    check_settings(suite.settings, f"{path}: settings")
    _check_weights(source, suite)
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
        if not isinstance(value, keys[key]) or (isinstance(value, bool) and keys[key] is not bool):
            raise source.fail(section, number, key, f"must be of type {keys[key].__name__}, found {shown(value)}")
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
    if table.get(key, 1) >= 2**31:
        raise source.fail(section, number, key, f"is longer than any text: {shown(table[key])}")


def _check_files(source: _Source, section: str, number: int, table: dict[str, Any], file_keys: tuple[str, ...]) -> None:
    """Files are named relative to the suite's folder, in its keys and in its options; options are plain values."""
    for key in file_keys:
        if key in table:
            _check_relative(source, section, number, key, table[key])
    for key, value in table.get("options", {}).items():
        place = f"options.{key}"
        expected = list if key.endswith("_files") else str if key.endswith("_file") else _OPTIONS.get(key)
        number_for_float = expected is float and isinstance(value, int)
        typed = expected is None or number_for_float or isinstance(value, expected)
        if not typed or (isinstance(value, bool) and expected is not None):
            kind = "list of strings" if expected is list else getattr(expected, "__name__", "")
            raise source.fail(section, number, place, f"must be of type {kind}, found {shown(value)}")
        if key == "sample" and value < 1:
            raise source.fail(section, number, place, f"must be at least 1, found {value}")
        if expected is int and value < 0:
            raise source.fail(section, number, place, f"must not be negative, found {shown(value)}")
        if key == "paths" or key.endswith(("_file", "_files")):
            for name in value if isinstance(value, list) else [value]:
                _check_relative(source, section, number, place, name)
        try:
            json.dumps(value)
        except (TypeError, ValueError):
            raise source.fail(
                section, number, place, "must be text, a number, true or false, a list or a table"
            ) from None


def _check_relative(source: _Source, section: str, number: int, key: str, name: Any) -> None:
    if not isinstance(name, str) or not name:
        raise source.fail(section, number, key, f"must name a file, found {shown(name)}")
    if PurePosixPath(name).is_absolute() or PureWindowsPath(name).is_absolute() or name.startswith("~"):
        raise source.fail(
            section, number, key, f"must be relative to the suite's folder, found {shown(name)}",
            "Write the way there from this file (../x), or make a symbolic link in the folder.",
        )  # fmt: skip
    if "\0" in name:
        raise source.fail(section, number, key, f"must name a file, found {shown(name)}")


def _corpus(source: _Source, name: str, table: Any) -> Corpus:
    section = f"[corpus.{name}]"
    _check_keys(source, section, 0, table, _CORPUS_KEYS, ("path",))
    _check_name(source, section, 0, name)
    _check_choice(source, section, 0, "format", table.get("format", "beir"), CORPUS_FORMATS)
    _positive(source, section, 0, table, "passage_max_length")
    _check_files(source, section, 0, table, ("path",))
    return Corpus(name=name, **table)


def _task(source: _Source, number: int, table: Any) -> Task:
    section = "[[task]]"
    needed = ("name", "corpus", "queries", "dev_qrels")
    _check_keys(source, section, number, table, _TASK_KEYS, needed)
    _check_name(source, section, number, table["name"])
    _check_choice(source, section, number, "family", table.get("family", "qa"), FAMILIES)
    _check_choice(source, section, number, "format", table.get("format", "beir"), TASK_FORMATS)
    _positive(source, section, number, table, "query_max_length")
    if "train_qrels" not in table and table.get("format", "beir") != "beir":
        raise source.fail(
            section, number, "train_qrels", "missing", "Only a task of the format beir may lack it: it is only scored."
        )  # fmt: skip
    _check_files(source, section, number, table, ("queries", "train_qrels", "dev_qrels", "kilt_dev"))
    return Task(**{"title": table["name"], "prompt": table["name"].upper(), "train_qrels": "", **table})


def check_settings(settings: Settings, place: str) -> None:
    """ConfigError unless these are settings of the pipeline that a suite may carry; ``place`` says whose they are."""
    for section, values in settings.items():
        if not isinstance(values, dict):
            raise ConfigError(f"{place}: {section} = {shown(values)}: expected a section, as [settings.train]")
    if "path" in settings.get("encoder", {}):
        raise ConfigError(f"{place}: encoder.path: a suite does not choose the encoder\n  Leave it out.")
    check_method_tables(settings.get(METHODS, {}), place)
    build_config({section: values for section, values in settings.items() if section != METHODS}, place)


CORPUS_FORMATS = ("beir", "psgs_w100", "kilt_knowledge", "msmarco", "zeshel")
TASK_FORMATS = ("beir", "kilt", "msmarco", "zeshel")


def _check_weights(source: _Source, suite: Suite) -> None:
    """Sets of numbers per task: of known tasks, not negative, not all 0."""
    names = [task.name for task in suite.tasks]
    for name, table in suite.weights.items():
        section = f"[weights.{name}]"
        _check_name(source, section, 0, name)
        if not isinstance(table, dict):
            raise source.fail("[weights]", 0, name, "must be a table of task = number", f"Write {section}.")
        for task, value in table.items():
            _check_choice(source, section, 0, task, task, names)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
                raise source.fail(section, 0, task, f"must be a number >= 0, found {shown(value)}")
        if not any(table.get(task, 1) for task in names):
            raise source.fail(section, 0, name, "every task has 0", "Give at least one task more.")


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
