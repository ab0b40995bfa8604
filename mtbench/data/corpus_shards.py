"""One shard of a corpus: tokenised and written by one process, whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np

from mtbench.data import layout
from mtbench.data.tokenizing import TokenEncoder

SHARD_SIZE = 50_000


@dataclass(slots=True)
class Shard:
    """Columns of consecutive passages; ``ids`` stays empty where ids are the row numbers."""

    number: int
    titles: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    pages: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.texts)


def shard_folder(parts: Path, number: int) -> Path:
    """Where the finished shard ``number`` lies."""
    return parts / f"shard-{number:05d}"


def write_shard(parts: Path, shard: Shard, encoder: TokenEncoder, max_length: int) -> int:
    """Tokenise ``shard`` and write its columns to ``parts``; the folder is renamed when it is whole."""
    partial = parts / f".shard-{shard.number:05d}.{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    _write_tokens(partial, shard, encoder, max_length)
    both = [part for pair in zip(shard.titles, shard.texts, strict=True) for part in pair]
    _write_strings(partial, layout.TEXTS, [text.encode("utf-8") for text in both])
    names = [page.encode("utf-8") for page in shard.pages]
    unique = sorted(set(names))
    number_of = {name: number for number, name in enumerate(unique)}
    _write_strings(partial, layout.PAGE_NAMES, unique)
    layout.PAGES.write(partial, [number_of[name] for name in names])
    layout.GROUPS.write(partial, shard.groups)
    ids = [name.encode("utf-8") for name in shard.ids]
    _write_strings(partial, layout.IDS, ids)
    layout.ID_ORDER.write(partial, sorted(range(len(ids)), key=ids.__getitem__))
    os.rename(partial, shard_folder(parts, shard.number))
    return shard.number


def _write_tokens(folder: Path, shard: Shard, encoder: TokenEncoder, max_length: int) -> None:
    """Token ids in pieces of some thousand passages, so that no shard's lists stand in memory together."""
    lengths: list[int] = []
    with open(folder / layout.TOKENS.values.name, "wb") as stream:
        for start in range(0, len(shard), 2000):
            piece = slice(start, start + 2000)
            ids = encoder.encode_passages(shard.titles[piece], shard.texts[piece], max_length)
            lengths.extend(map(len, ids))
            stream.write(np.fromiter(chain.from_iterable(ids), encoder.dtype).tobytes())
    layout.LENGTHS.write(folder, lengths)


def lengths_of(strings: layout.Strings) -> layout.Column:
    """A shard's column with the bytes of each string; the corpus has the offsets instead."""
    return layout.Column(f"{strings.values.name}_lengths", np.uint32)


def _write_strings(folder: Path, column: layout.Strings, strings: Sequence[bytes]) -> None:
    (folder / column.values.name).write_bytes(b"".join(strings))
    lengths_of(column).write(folder, map(len, strings))
