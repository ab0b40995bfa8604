"""The answers of a task's queries, all alternatives, from the raw files that hold them (KILT's and MT-DPR's)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtbench.data.files import find_file
from mtbench.data.json_array import iter_json_array
from mtbench.data.kilt_records import iter_kilt
from mtbench.errors import DataError
from mtbench.suite import Suite, Task

Alternatives = dict[str, list[str]]
"""Query id -> its answers in the file's order, without spaces around, each once; absent where there is none."""


@dataclass(frozen=True)
class TaskAnswers:
    """Answers of both splits of a task."""

    train: Alternatives
    dev: Alternatives


def has_answers(task: Task) -> bool:
    """Whether the task's raw files are of a kind that holds answers."""
    return task.format == "kilt"


def read_answers(suite: Suite, task: Task) -> TaskAnswers:
    """The answers of a KILT task: of train from the DPR-style file, of dev from KILT's own.

    DataError with file and line for an answer that is no text, and for a file none of whose queries has one.
    """
    train = find_file(suite.root, task.train_qrels, f"train file of task {task.name!r}")
    dev = find_file(suite.root, task.kilt_dev or "", f"KILT dev file of task {task.name!r}")
    found = TaskAnswers(_of_rows(train), _of_records(dev))
    for path, answers in ((train, found.train), (dev, found.dev)):
        if not answers:
            raise DataError(
                "no query of the file has an answer",
                path=path,
                remedy="A reader needs KILT's files with answers: its test files have none.",
            )
    return found


def _of_rows(path: Path) -> Alternatives:
    found: Alternatives = {}
    for number, (line, row) in enumerate(iter_json_array(path)):
        answers = row.get("answers") if isinstance(row, dict) else None
        kept = _texts(answers or [], path, line)
        if kept:
            found[str(number)] = kept
    return found


def _of_records(path: Path) -> Alternatives:
    found: Alternatives = {}
    for line, record in iter_kilt(path):
        outputs = [one for one in record.get("output") or [] if isinstance(one, dict)]
        kept = _texts([one["answer"] for one in outputs if one.get("answer")], path, line)
        if kept:
            found[record["id"]] = kept
    return found


def _texts(answers: Any, path: Path, line: int) -> list[str]:
    if not isinstance(answers, list) or not all(isinstance(one, str) for one in answers):
        raise DataError("answers must be a list of texts", path=path, line=line)
    return [text for text in dict.fromkeys(one.strip() for one in answers) if text]
