"""One way in to every raw format: passages of a corpus, queries of a task, and the files they come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from mtbench.data import beir, kilt_task, msmarco, wikipedia, zeshel
from mtbench.data.fields import Located
from mtbench.data.files import find_file
from mtbench.data.sampling import sampled
from mtbench.data.types import Notes, Passage, TaskData
from mtbench.suite import Corpus, Suite, Task


class _TaskReader(Protocol):
    def read_task(self, suite: Suite, task: Task, notes: Notes) -> TaskData: ...
    def locate_judgement(self, suite: Suite, task: Task, split: str, passage: str) -> tuple[Path, int | None]: ...


_CORPORA: dict[str, Callable[[Suite, Corpus, Notes], Iterator[Located]]] = {
    "beir": beir.iter_corpus,
    "psgs_w100": wikipedia.iter_psgs_w100,
    "kilt_knowledge": wikipedia.iter_knowledge_passages,
    "msmarco": msmarco.iter_corpus,
    "zeshel": zeshel.iter_corpus,
}
_TASKS: dict[str, _TaskReader] = {"beir": beir, "kilt": kilt_task, "msmarco": msmarco, "zeshel": zeshel}


def read_corpus(suite: Suite, corpus: Corpus, notes: Notes) -> Iterator[Located]:
    """Passages as ``(file, line, passage)``, streamed; DataError with the place of anything malformed."""
    return _CORPORA[corpus.format](suite, corpus, notes)


def iter_passages(suite: Suite, corpus: Corpus, notes: Notes | None = None) -> Iterator[Passage]:
    """Passages in the raw file's order, streamed; oddities that are no errors are counted in ``notes``."""
    return (passage for _, _, passage in read_corpus(suite, corpus, notes or Notes()))


def locate_passage(suite: Suite, corpus: Corpus, row: int) -> tuple[Path, int]:
    """File and line of the passage in ``row``; reads the corpus again, so only for messages."""
    for number, (path, line, _) in enumerate(read_corpus(suite, corpus, Notes())):
        if number == row:
            return path, line
    raise IndexError(row)


def read_task(suite: Suite, task: Task, notes: Notes | None = None) -> TaskData:
    """Train and dev queries of a task with their judgements; of train as many as ``options.sample`` says."""
    data = _TASKS[task.format].read_task(suite, task, notes or Notes())
    size, seed = task.options.get("sample"), int(task.options.get("sample_seed", 0))
    return TaskData(sampled(data.train, size, seed), data.dev)


def locate_judgement(suite: Suite, task: Task, split: str, passage: str) -> tuple[Path, int | None]:
    """File and line where ``passage`` is first judged; only for messages."""
    return _TASKS[task.format].locate_judgement(suite, task, split, passage)


def suite_files(suite: Suite) -> list[Path]:
    """Every raw file that the suite names, as it is found on disk; DataError for one that is missing."""
    names: dict[str, None] = {}
    for corpus in suite.corpora:
        names.update(dict.fromkeys(corpus_file_names(corpus)))
    for task in suite.tasks:
        names.update(dict.fromkeys(task_file_names(task)))
    return list(dict.fromkeys(find_file(suite.root, name) for name in names))


def corpus_file_names(corpus: Corpus) -> list[str]:
    """Files of a corpus, relative to the suite's root."""
    return [*(corpus.options.get("paths") or [corpus.path]), *_option_files(corpus.options)]


def task_file_names(task: Task) -> list[str]:
    """Files of a task, relative to the suite's root."""
    names = [
        task.queries,
        task.train_qrels,
        task.dev_qrels,
        task.kilt_dev or "",
        *_option_files(task.options),
    ]
    return [name for name in dict.fromkeys(names) if name]


def _option_files(options: dict[str, Any]) -> list[str]:
    """Files named in options: those under the keys that end in ``_file`` or ``_files``."""
    files: list[str] = []
    for key, value in options.items():
        if key.endswith("_file"):
            files.append(value)
        elif key.endswith("_files"):
            files.extend(value)
    return files
