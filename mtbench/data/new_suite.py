"""``mtbench new suite``: one suite.toml over folders in BEIR's layout, or a commented one to fill in."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mtbench.data.rules import read_facts
from mtbench.data.suite_file import FILE_NAME, read_suite_folder
from mtbench.errors import DataError, UsageError
from mtbench.registry import entries

_TEMPLATE = """\
# A suite of your own: see docs/suites.md. Paths are relative to this file.
name = "{name}"
version = 1  # raise it when data, judgements or the metric change
metric = "recall@100"  # or rprecision_page (needs kilt_dev), rprecision_passage, recall@20, mrr@10, ndcg@10

[corpus.documents]
path = "corpus.jsonl"  # lines: {{"_id": "1", "title": "", "text": "...", "metadata": {{"wikipedia_id": "page"}}}}
passage_max_length = 160

[[task]]
name = "first"
title = "My first task"
family = "qa"  # qa, fact_checking, slot_filling, entity_linking, dialogue, ad_hoc
corpus = "documents"
queries = "first/queries.jsonl"  # lines: {{"_id": "q1", "text": "..."}}
train_qrels = "first/qrels/train.tsv"  # query-id <tab> corpus-id <tab> score, with this header
dev_qrels = "first/qrels/dev.tsv"
prompt = "FIRST"
query_max_length = 32
"""


@dataclass(frozen=True)
class _Part:
    """What was found in one BEIR folder."""

    name: str
    corpus: Path
    queries: Path
    train: Path
    dev: Path
    kilt: Path | None


def scaffold_suite(name: str, beir_dirs: Sequence[str | Path], out: Path) -> Path:
    """Write ``out/NAME/suite.toml`` over the given folders and return its path; nothing is overwritten.

    A folder holds ``corpus.jsonl`` (or lies beside one that several tasks share), ``queries.jsonl`` and
    ``qrels/train.tsv`` with ``dev.tsv`` or, failing that, ``test.tsv``. Raises UsageError for a bad name or an
    existing file, DataError for a folder that lacks something.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise UsageError(f"{name!r} is not a possible name for a suite: use letters, digits, '.', '_' and '-'")
    taken = entries("suite").get(name)
    if taken is not None:
        raise UsageError(f"a suite called {name!r} exists already: {taken.place}\n  Choose another name.")
    target = out / name / FILE_NAME
    if target.exists():
        raise UsageError(f"{target} exists already\n  Choose another name, or edit that file.")
    parts = [_find(Path(folder)) for folder in beir_dirs]
    text = _declare(name, parts, target.parent) if parts else _TEMPLATE.format(name=name)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, "utf-8")
    if parts:
        _ignore_own_ids(target)
    return target


def _ignore_own_ids(target: Path) -> None:
    """Ask for BEIR's rule in the tasks whose queries stand in their corpus under their own id."""
    try:
        own = read_facts(read_suite_folder(target.parent)).own_ids
    except DataError:  # which `mtbench check suite` tells, with file and line
        return
    lines = []
    for line in target.read_text("utf-8").splitlines():
        lines.append(line)
        for task, count in own.items():
            if line == f"name = {_quoted(task)}" and lines[-2:-1] == ["[[task]]"]:
                reason = f"BEIR's rule: {count} queries stand in the corpus under their own id"
                lines.append(f"ignore_identical_ids = true  # {reason}")
    target.write_text("\n".join(lines) + "\n", "utf-8")


def _find(folder: Path) -> _Part:
    folder = folder.resolve()

    def first(what: str, *candidates: Path) -> Path:
        for path in candidates:
            for found in (path, path.with_name(f"{path.name}.gz")):
                if found.is_file():
                    return found
        names = " or ".join(dict.fromkeys(path.name for path in candidates))
        raise DataError(f"no {what} here ({names})", path=folder, remedy="docs/suites.md describes BEIR's layout.")

    kilt = folder / "kilt" / "dev-kilt.jsonl"
    return _Part(
        re.sub(r"[^A-Za-z0-9._-]", "-", folder.name).lstrip("._-") or "task",
        first("corpus", folder / "corpus.jsonl", folder.parent / "corpus.jsonl"),
        first("queries", folder / "queries.jsonl"),
        first("training judgements", folder / "qrels" / "train.tsv"),
        first("dev judgements", folder / "qrels" / "dev.tsv", folder / "qrels" / "test.tsv"),
        kilt if kilt.is_file() else None,
    )


def _declare(name: str, parts: Sequence[_Part], base: Path) -> str:
    """The text of the suite.toml."""

    def path(file: Path) -> str:
        return _quoted(Path(os.path.relpath(file, base.resolve())).as_posix())

    taken: set[str] = set()
    corpora: dict[Path, str] = {}
    for part in parts:
        if part.name in taken:
            raise UsageError(f"two folders are called {part.name!r}\n  Rename one: its name becomes the task's.")
        taken.add(part.name)
        shared = part.corpus.parent != part.queries.parent
        corpora.setdefault(part.corpus, part.corpus.parent.name if shared else part.name)
    metric = "rprecision_page" if all(part.kilt for part in parts) else "recall@100"
    lines = [f"name = {_quoted(name)}", "version = 1", f"metric = {_quoted(metric)}"]
    for file, corpus in corpora.items():
        lines += ["", f"[corpus.{_quoted(corpus)}]" if "." in corpus else f"[corpus.{corpus}]"]
        lines += [f"path = {path(file)}", "passage_max_length = 160"]
    for part in parts:
        lines += [
            "",
            "[[task]]",
            f"name = {_quoted(part.name)}",
            f"title = {_quoted(part.name)}",
            'family = "qa"  # qa, fact_checking, slot_filling, entity_linking, dialogue, ad_hoc',
            f"corpus = {_quoted(corpora[part.corpus])}",
            f"queries = {path(part.queries)}",
            f"train_qrels = {path(part.train)}",
            f"dev_qrels = {path(part.dev)}" + ("  # no dev.tsv there" if part.dev.name.startswith("test") else ""),
            *([f"kilt_dev = {path(part.kilt)}"] if part.kilt else []),
            f"prompt = {_quoted(part.name.upper())}",
            "query_max_length = 64",
        ]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
