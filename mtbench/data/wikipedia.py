"""Wikipedia as passages: MT-DPR's ``psgs_w100.tsv`` and KILT's knowledge source, both streamed.

Sources: Maillard et al., ACL 2021 (36 million passages of 100 words); Petroni et al., NAACL 2021 (5.9 million pages).
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mtbench.data.fields import Located, identifier, is_blank, string
from mtbench.data.files import find_file, iter_json_lines, iter_lines
from mtbench.data.types import Notes, Passage
from mtbench.errors import DataError
from mtbench.suite import Corpus, Suite

FIELD_LIMIT = 1 << 20
_MARKUP = ("Section::::", "BULLET::::")


def iter_psgs_w100(suite: Suite, corpus: Corpus, notes: Notes) -> Iterator[Located]:
    """Passages of a ``psgs_w100`` file: id, text, title and, from the fourth column, the Wikipedia page.

    Tab-separated with ``"`` as quote; ids count from 0 without a gap. With three columns a passage is its own page.
    """
    path = find_file(suite.root, corpus.path, f"corpus {corpus.name!r}")
    rows = _iter_rows(path)
    _, header = next(rows, (1, []))
    if header[:1] != ["id"]:
        raise DataError(
            "expected the header 'id text title wikipedia_id ...' (tabs between)",
            path=path,
            line=1,
            remedy="Is this the original psgs_w100.tsv? Other layouts: see docs/suites.md.",
        )
    width = 0
    for number, (line, row) in enumerate(rows):
        width = width or len(row)
        if len(row) != width or len(row) < 3:
            raise DataError(f"expected {max(width, 3)} columns, found {len(row)}", path=path, line=line)
        if row[0] != str(number):
            raise DataError(
                f"expected id {number}, found {row[0][:40]!r}: ids must count from 0 without a gap",
                path=path,
                line=line,
                remedy="Rows are missing, repeated or out of order; fetch the file again.",
            )
        if is_blank(row[1]):
            notes.add("empty passages", f"{path}:{line}")
        yield path, line, Passage(row[0], row[2], row[1], row[3] if width > 3 else "")


def _iter_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Rows with the line each starts at."""
    csv.field_size_limit(FIELD_LIMIT)
    reader = csv.reader((f"{text}\n" for _, text in iter_lines(path)), delimiter="\t", quotechar='"')
    line = 1
    try:
        for row in reader:
            if row:
                yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"not a valid row ({error})",
            path=path,
            line=line,
            remedy="Look for a quote that is opened and not closed.",
        ) from error


@dataclass(slots=True)
class Page:
    """One page of the knowledge source; ``paragraphs[0]`` is the title, indices are KILT's paragraph ids."""

    id: str
    title: str
    paragraphs: list[str]


def iter_knowledge(path: Path) -> Iterator[tuple[int, Page]]:
    """Pages of ``kilt_knowledgesource.json`` (one JSON object per line) as ``(line, page)``."""
    for line, record in iter_json_lines(path):
        paragraphs = record.get("text")
        if not isinstance(paragraphs, list) or not all(isinstance(p, str) for p in paragraphs):
            raise DataError("'text' must be a list of paragraphs", path=path, line=line)
        name = identifier(record, "wikipedia_id" if "wikipedia_id" in record else "_id", path, line)
        yield line, Page(name, string(record, "wikipedia_title", path, line), paragraphs)


def iter_knowledge_passages(suite: Suite, corpus: Corpus, notes: Notes) -> Iterator[Located]:
    """The knowledge source cut into passages of ``options.words`` (100) words, ids ``PAGE-NUMBER``.

    Section headings and bullet marks are dropped, as is the title, which every passage carries anyway.
    """
    words_each = int(corpus.options.get("words", 100))
    path = find_file(suite.root, corpus.path, f"corpus {corpus.name!r}")
    for line, page in iter_knowledge(path):
        words = [word for text in page.paragraphs[1:] for word in _plain(text).split()]
        if not words:
            notes.add("pages without text", f"{path}:{line}")
        for number, start in enumerate(range(0, len(words), words_each)):
            text = " ".join(words[start : start + words_each])
            yield path, line, Passage(f"{page.id}-{number}", page.title, text, page.id)


def _plain(paragraph: str) -> str:
    if paragraph.startswith(_MARKUP[0]):
        return ""
    return paragraph.removeprefix(_MARKUP[1]).lstrip("- ")
