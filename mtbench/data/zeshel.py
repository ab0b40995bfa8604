"""ZESHEL, zero-shot entity linking (Logeswaran et al., ACL 2019): worlds of documents, mentions inside documents.

Each mention searches the documents of its own world only: a passage's and a query's ``group`` is the world.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mtbench.data.fields import Located, identifier, is_blank, string
from mtbench.data.files import find_file, iter_json_lines
from mtbench.data.types import Notes, Passage, QuerySplit, TaskData
from mtbench.errors import DataError
from mtbench.suite import Corpus, Suite, Task

CONTEXT_WORDS = 180


def iter_corpus(suite: Suite, corpus: Corpus, notes: Notes) -> Iterator[Located]:
    """Documents of the files in ``options.documents_files`` (one per world); the file's name is the world."""
    for name in corpus.options.get("documents_files") or [corpus.path]:
        path = find_file(suite.root, name, f"documents of corpus {corpus.name!r}")
        world = path.name.split(".")[0]
        for line, record in iter_json_lines(path):
            text = string(record, "text", path, line)
            if is_blank(text):
                notes.add("empty passages", f"{path}:{line}")
            title = string(record, "title", path, line, "")
            yield path, line, Passage(identifier(record, "document_id", path, line), title, text, group=world)


@dataclass(slots=True)
class _Mention:
    line: int
    id: str
    world: str
    document: str
    start: int
    end: int
    text: str
    label: str


def _read_mentions(path: Path) -> list[_Mention]:
    mentions = []
    for line, record in iter_json_lines(path):
        place = [record.get(key) for key in ("start_index", "end_index")]
        start, end = (p if isinstance(p, int) and not isinstance(p, bool) else -1 for p in place)
        if not 0 <= start <= end:
            raise DataError(f"start_index and end_index do not fit: {place}", path=path, line=line)
        mentions.append(
            _Mention(
                line=line,
                id=identifier(record, "mention_id", path, line),
                world=identifier(record, "corpus", path, line),
                document=identifier(record, "context_document_id", path, line),
                start=start,
                end=end,
                text=string(record, "text", path, line),
                label=identifier(record, "label_document_id", path, line),
            )
        )
    if not mentions:
        raise DataError("no mention in the file", path=path)
    return mentions


def read_task(suite: Suite, task: Task, notes: Notes) -> TaskData:
    """Queries of both splits: a mention marked ``<m> ... </m>`` in a window of ``options.context_words`` words."""
    corpora = {"train": task.corpus, "dev": task.dev_corpus or task.corpus}
    names = {"train": task.train_qrels, "dev": task.dev_qrels}
    splits = {split: _read_split(suite, task, names[split], suite.corpus(corpora[split])) for split in corpora}
    return TaskData(splits["train"], splits["dev"])


def _read_split(suite: Suite, task: Task, name: str, corpus: Corpus) -> QuerySplit:
    path = find_file(suite.root, name, f"mentions of task {task.name!r}")
    mentions = _read_mentions(path)
    texts = _contexts(suite, corpus, mentions, path, int(task.options.get("context_words", CONTEXT_WORDS)))
    return QuerySplit(
        [mention.id for mention in mentions],
        texts,
        [{mention.label: 1} for mention in mentions],
        groups=[mention.world for mention in mentions],
    )


def _contexts(suite: Suite, corpus: Corpus, mentions: list[_Mention], path: Path, words: int) -> list[str]:
    """Query texts; documents are streamed, only the windows are kept."""
    wanted: dict[tuple[str, str], list[int]] = {}
    for index, mention in enumerate(mentions):
        wanted.setdefault((mention.world, mention.document), []).append(index)
    texts: list[str | None] = [None] * len(mentions)
    for _, _, document in iter_corpus(suite, corpus, Notes()):
        indices = wanted.get((document.group, document.id))
        if indices:
            tokens = document.text.split()
            for index in indices:
                texts[index] = marked_window(tokens, mentions[index], path, words)
    whole = [text for text in texts if text is not None]
    if len(whole) < len(mentions):
        mention = mentions[texts.index(None)]
        raise DataError(
            f"document {mention.document!r} of world {mention.world!r} is not in corpus {corpus.name!r}",
            path=path,
            line=mention.line,
            remedy="Are the worlds of this split listed in the corpus's documents_files?",
        )
    return whole


def marked_window(tokens: list[str], mention: _Mention, path: Path, words: int) -> str:
    """``words`` words with the mention in their middle, marked; DataError if the offsets do not hold the mention."""
    if tokens[mention.start : mention.end + 1] != mention.text.split():
        raise DataError(
            f"words {mention.start} to {mention.end} of document {mention.document!r} are not {mention.text!r}",
            path=path,
            line=mention.line,
            remedy="Mentions and documents must be of the same release.",
        )
    side = max(0, words - (mention.end + 1 - mention.start)) // 2
    before = tokens[max(0, mention.start - side) : mention.start]
    after = tokens[mention.end + 1 : mention.end + 1 + side]
    return " ".join([*before, "<m>", mention.text, "</m>", *after])


def locate_judgement(suite: Suite, task: Task, split: str, passage: str) -> tuple[Path, int | None]:
    """The mention whose entity ``passage`` is."""
    path = find_file(suite.root, task.dev_qrels if split == "dev" else task.train_qrels)
    return path, next((m.line for m in _read_mentions(path) if m.label == passage), None)
