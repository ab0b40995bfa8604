"""Building the prepared form: queries of every task first (a mistake there shows in seconds), then the corpora."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from mtbench.data import layout
from mtbench.data.copies import find_copies
from mtbench.data.corpus_build import CorpusBuild, Progress
from mtbench.data.page_rows import PageRows
from mtbench.data.prepared import PreparedCorpus
from mtbench.data.query_files import write_judgements, write_texts
from mtbench.data.reading import locate_judgement, read_task, suite_files
from mtbench.data.rules import Rules
from mtbench.data.tokenizing import ENCODER_PROMPT, PromptMode, TokenEncoder, query_prefix, separator
from mtbench.data.types import Notes, QuerySplit
from mtbench.errors import DataError
from mtbench.storage.atomic import read_json, write_json
from mtbench.storage.disk import disk_errors, file_digest
from mtbench.suite import Corpus, Suite, Task

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

BUILDING = "building.json"
"""In a folder that is or was being built: what from."""


class _Settings(TypedDict):
    format: int
    inputs: str


@dataclass(frozen=True)
class PrepareOptions:
    """How a suite's text becomes token ids; the lengths override the suite's own."""

    prompt: PromptMode = "task"
    passage_max_length: int | None = None
    query_max_length: int | None = None
    limit: int | None = None
    """Only the first so many train and dev queries of each task."""
    rules: Rules = field(default_factory=dict)
    """Those that the suite's data call for (``mtbench.data.rules``)."""

    @property
    def determinants(self) -> list[Any]:
        """The values, without what came later and says nothing."""
        values = [self.prompt, self.passage_max_length, self.query_max_length, self.limit]
        return [*values, self.rules] if self.rules else values


def build_prepared(
    suite: Suite,
    out: Path,
    tokenizer: PreTrainedTokenizerFast,
    options: PrepareOptions | None = None,
    *,
    workers: int = 1,
    progress: Progress | None = None,
) -> None:
    """Write the prepared form of ``suite`` to the folder ``out``; ``prepared.json`` comes last.

    A call for the same inputs goes on where an interrupted one stopped; other inputs start anew. The result does not
    depend on ``workers``. Raises DataError for malformed data, StoreError for a disk that is full.
    """
    build = _Build(suite, out, tokenizer, options or PrepareOptions(), workers, progress)
    with disk_errors(out):
        build.run()


@dataclass
class _Build:
    suite: Suite
    out: Path
    tokenizer: PreTrainedTokenizerFast
    options: PrepareOptions
    workers: int
    progress: Progress | None
    notes: dict[str, dict[str, int]] = field(default_factory=dict)

    def run(self) -> None:
        self.encoder = TokenEncoder.of(self.tokenizer)
        self.separator = separator(self.tokenizer)
        settings = self._settings()
        self.out.mkdir(parents=True, exist_ok=True)
        kept = self.out / BUILDING
        if not (kept.is_file() and read_json(kept) == settings):
            for name in ("corpora", "tasks"):
                shutil.rmtree(self.out / name, ignore_errors=True)
            (self.out / layout.SUITE_FILE).unlink(missing_ok=True)
            write_json(kept, settings)
        elif (self.out / layout.SUITE_FILE).is_file():
            return
        splits = {task.name: self._read(task) for task in self.suite.tasks}
        corpora = {name: self._corpus(self.suite.corpus(name)) for name in self._used()}
        for task in self.suite.tasks:
            self._resolve(task, splits.pop(task.name), corpora)
        self._finish()

    def _settings(self) -> _Settings:
        """What an interrupted build must share with this call to be continued."""
        stats = {str(p.relative_to(self.suite.root)): p.stat() for p in suite_files(self.suite)}
        values = {
            "format": layout.FORMAT,
            "suite": self.suite.determinants,
            "files": {name: (stat.st_size, stat.st_mtime_ns) for name, stat in stats.items()},
            "tokenizer": self.encoder.definition,
            "options": [self.separator, *self.options.determinants],
        }
        text = json.dumps(values, sort_keys=True, default=str)
        return {"format": layout.FORMAT, "inputs": hashlib.sha256(text.encode()).hexdigest()}

    def _used(self) -> list[str]:
        used = {name for task in self.suite.tasks for name in (task.corpus, task.dev_corpus or task.corpus)}
        return [corpus.name for corpus in self.suite.corpora if corpus.name in used]

    def _say(self, what: str, done: int, total: int | None) -> None:
        if self.progress is not None:
            self.progress(what, done, total)

    def _read(self, task: Task) -> dict[str, QuerySplit]:
        """Read a task, write its texts and tokens, keep the judgements until the corpora are there."""
        self._say(f"task {task.name}", 0, None)
        notes = Notes()
        data = read_task(self.suite, task, notes)
        self.notes[f"task {task.name}"] = notes.counts
        prefix = query_prefix(task, self.options.prompt, self.separator)
        length = self.options.query_max_length or task.query_max_length
        splits = {"train": data.train.first(self.options.limit), "dev": data.dev.first(self.options.limit)}
        for name, split in splits.items():
            write_texts(self.out / "tasks" / task.name / name, split, self.encoder, prefix, self.separator, length)
            split.texts = []
        return splits

    def _corpus(self, corpus: Corpus) -> PreparedCorpus:
        folder = self.out / "corpora" / corpus.name
        length = self.options.passage_max_length or corpus.passage_max_length
        encoder = self.encoder.before_passages(str(corpus.options.get(ENCODER_PROMPT, "")))
        CorpusBuild(self.suite, corpus, folder, encoder, length, self.workers, self.progress).run()
        if corpus.name in self.options.rules.get("copies", ()):
            self._say(f"copies in {corpus.name}", 0, None)
            find_copies(PreparedCorpus(folder)).save(folder)
        prepared = PreparedCorpus(folder)
        self.notes[f"corpus {corpus.name}"] = prepared.notes
        return prepared

    def _resolve(self, task: Task, splits: dict[str, QuerySplit], corpora: dict[str, PreparedCorpus]) -> None:
        """Judgements as rows and page numbers of the prepared corpora."""
        for name, split in splits.items():
            corpus = corpora[task.dev_corpus or task.corpus if name == "dev" else task.corpus]

            def row_of(passage: str, split_name: str = name, corpus: PreparedCorpus = corpus) -> int:
                row = corpus.index_of(passage)
                if row < 0:
                    raise self._unknown_passage(task, split_name, passage, corpus.name)
                return row

            number_of = {group: number for number, group in enumerate(corpus.group_names or [])}
            whole_pages = task.options.get("positives") == "page" and name == "train"
            write_judgements(
                self.out / "tasks" / task.name / name,
                split,
                row_of,
                corpus.page_of,
                number_of,
                PageRows(corpus.pages) if whole_pages else None,
            )

    def _unknown_passage(self, task: Task, split: str, passage: str, corpus: str) -> DataError:
        place = locate_judgement(self.suite, task, split, passage)
        return DataError(
            f"passage {passage!r} is not in corpus {corpus!r}",
            path=place[0],
            line=place[1],
            remedy="Judgements and corpus must be of the same version; remove the judgement or add the passage.",
        )

    def _finish(self) -> None:
        tasks = [self._describe(task) for task in self.suite.tasks]
        paths = sorted(p for top in ("corpora", "tasks") for p in (self.out / top).rglob("*") if p.is_file())
        files: dict[str, layout.FileDescription] = {}
        for number, path in enumerate(paths):
            self._say("checksums", number, len(paths))
            name = path.relative_to(self.out).as_posix()
            files[name] = {"size": path.stat().st_size, "sha256": file_digest(path)}
        description: layout.SuiteDescription = {
            "format": layout.FORMAT, "suite": self.suite.name, "version": self.suite.version,
            "metric": self.suite.metric, "dtype": self.encoder.dtype.name, "corpora": self._used(), "tasks": tasks,
            "notes": self.notes, "files": files,
        }  # fmt: skip
        write_json(self.out / layout.SUITE_FILE, description)

    def _describe(self, task: Task) -> layout.TaskDescription:
        """What came later stands there only where it says something."""
        entry: layout.TaskDescription = {
            "name": task.name,
            "family": task.family,
            "corpus": task.corpus,
            "dev_corpus": task.dev_corpus or task.corpus,
        }
        if task.ignore_identical_ids:
            entry["ignore_identical_ids"] = True
        if task.name in self.options.rules.get("own_ids", ()):
            entry["own_ids"] = True
        return entry
