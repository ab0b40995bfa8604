"""From a raw corpus to its prepared folder: read once in order, tokenise in worker processes, append by shards."""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import ClassVar

from mtbench.data import layout
from mtbench.data.corpus_files import CorpusFiles, DuplicateIdError, drop_parts
from mtbench.data.corpus_shards import SHARD_SIZE, Shard, shard_folder, write_shard
from mtbench.data.files import find_file, watch_reading
from mtbench.data.reading import corpus_file_names, locate_passage, read_corpus
from mtbench.data.tokenizing import TokenEncoder
from mtbench.data.types import Notes
from mtbench.errors import DataError
from mtbench.processes import ProcessPool
from mtbench.storage.atomic import read_json, write_json
from mtbench.suite import Corpus, Suite

Progress = Callable[[str, int, int | None], None]
"""Called with what is being done, how many are done, and of how many (None: not known)."""
DECIMAL_FORMATS = ("psgs_w100",)


@dataclass
class CorpusBuild:
    """Builds one corpus in ``folder``; calling it again after an interruption goes on with the next shard."""

    suite: Suite
    corpus: Corpus
    folder: Path
    encoder: TokenEncoder
    max_length: int
    workers: int = 1
    progress: Progress | None = None
    notes: Notes = field(default_factory=Notes)
    shard_size: ClassVar[int] = SHARD_SIZE

    def run(self) -> None:
        """Write the corpus; ``corpus.json`` comes last and says that it is whole."""
        if not (self.folder / layout.CORPUS_FILE).is_file():
            self._build()
        # Last, and again if a kill came between: without them an unfinished corpus would have to start anew.
        found: layout.CorpusDescription = read_json(self.folder / layout.CORPUS_FILE)
        drop_parts(self.folder, decimal=found["ids"] == "decimal", grouped=found["groups"] is not None)

    def _build(self) -> None:
        self._groups: dict[str, int] = {}
        files = CorpusFiles(self.folder)
        names = [find_file(self.suite.root, name) for name in corpus_file_names(self.corpus)]
        self._bytes = max(1, sum(path.stat().st_size for path in names))
        with watch_reading() as self._position:
            if self.workers > 1:
                self._run_parallel(files)
            else:
                for shard in self._shards():
                    self._finish_shard(files, shard.number, self._write(files, shard))
        if not files.passages:
            path = self.suite.root / self.corpus.path
            raise DataError(f"corpus {self.corpus.name!r} is empty", path=path, remedy="Fetch it again.")
        decimal = self.corpus.format in DECIMAL_FORMATS
        try:
            pages = files.finish(decimal=decimal)
        except DuplicateIdError as error:
            shutil.rmtree(self.folder)  # the raw file has to change, so nothing of this can be of use
            raise self._duplicate(error) from error
        description: layout.CorpusDescription = {
            "name": self.corpus.name,
            "passages": files.passages,
            "pages": pages,
            "dtype": self.encoder.dtype.name,
            "ids": "decimal" if decimal else "table",
            "groups": list(self._groups) if set(self._groups) != {""} else None,
            "passage_max_length": self.max_length,
            "notes": self.notes.counts,
        }
        write_json(self.folder / layout.CORPUS_FILE, description)

    def _shards(self) -> Iterator[Shard]:
        """The corpus cut into columns of ``shard_size`` passages."""
        passages = (passage for _, _, passage in read_corpus(self.suite, self.corpus, self.notes))
        keep_ids = self.corpus.format not in DECIMAL_FORMATS
        number, read = 0, 0
        while True:
            shard = Shard(number)
            for passage in islice(passages, self.shard_size):
                shard.titles.append(passage.title)
                shard.texts.append(passage.text)
                shard.pages.append(passage.page)
                shard.groups.append(self._groups.setdefault(passage.group, len(self._groups)))
                if keep_ids:
                    shard.ids.append(passage.id)
            read += len(shard)
            self._total = read if len(shard) < self.shard_size else self._estimate(read)
            if not len(shard):
                return
            yield shard
            number += 1

    def _estimate(self, read: int) -> int:
        """Passages there will be, from those read and the share of the raw bytes they took."""
        return max(read, round(read * self._bytes / max(1, self._position())))

    def _write(self, files: CorpusFiles, shard: Shard) -> bool:
        """Write ``shard`` here unless an earlier call did; True if the files still lack it."""
        if shard.number < files.shards:
            return False
        if not shard_folder(files.parts, shard.number).is_dir():
            write_shard(files.parts, shard, self.encoder, self.max_length)
        return True

    def _finish_shard(self, files: CorpusFiles, number: int, new: bool) -> None:
        if new:
            files.append(number)
        if self.progress is not None:
            self.progress(f"corpus {self.corpus.name}", sum(files.state["passages"][: number + 1]), self._total)

    def _run_parallel(self, files: CorpusFiles) -> None:
        """Reading here, tokenising in worker processes, appending in order; at most two shards a worker wait."""
        waiting: deque[tuple[int, Future[int] | None]] = deque()
        pool: ProcessPool | None = None
        try:
            for shard in self._shards():
                future: Future[int] | None = None
                there = shard.number < files.shards or shard_folder(files.parts, shard.number).is_dir()
                if not there and shard.number == 0 and len(shard) < self.shard_size:
                    self._write(files, shard)  # a small corpus is done before a worker would have started
                elif not there:
                    pool = pool or ProcessPool(self.workers, _start_worker, self.encoder)
                    future = pool.submit(_write_in_worker, files.parts, shard, self.max_length)
                waiting.append((shard.number, future))
                while waiting and (len(waiting) > self.workers + 1 or _done(waiting[0][1])):
                    self._take(files, waiting)
            while waiting:
                self._take(files, waiting)
        except BaseException:
            if pool is not None:
                pool.close(kill=True)  # half a shard is never taken for whole
            raise
        if pool is not None:
            pool.close()

    def _take(self, files: CorpusFiles, waiting: deque[tuple[int, Future[int] | None]]) -> None:
        number, future = waiting.popleft()
        if future is not None:
            future.result()
        self._finish_shard(files, number, number >= files.shards)

    def _duplicate(self, error: DuplicateIdError) -> DataError:
        places = [locate_passage(self.suite, self.corpus, row) for row in sorted(error.rows)]
        (first_path, first_line), (path, line) = places
        return DataError(
            f"passage id {error.name!r} occurs twice (first: {first_path.name}:{first_line})",
            path=path,
            line=line,
            remedy="Make the ids unique.",
        )


def _done(future: Future[int] | None) -> bool:
    return future is None or future.done()


_worker_encoder: TokenEncoder


def _start_worker(encoder: TokenEncoder) -> None:
    """One tokenizer for a worker's life: each has a cache of words, and memory that is not all given back."""
    global _worker_encoder
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes are the parallelism
    _worker_encoder = encoder


def _write_in_worker(parts: Path, shard: Shard, max_length: int) -> int:
    return write_shard(parts, shard, _worker_encoder, max_length)
