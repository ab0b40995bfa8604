"""Freeing a model's vectors when nobody who is planned reads them any more (``store.keep_vectors=false``).

At the papers' size one model's vectors take 55 GB, and a run makes nine sets of them; each is read twice, when the
model is scored and when the next episode's negatives are mined.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from mtbench.pipeline.context import Listener
from mtbench.pipeline.plan import Plan, Stage
from mtbench.retrieval.encode import open_shards
from mtbench.retrieval.vectors import mean_angle
from mtbench.storage.store import Built, Store

ANGLES = "angles"
"""Result of an ``encode`` stage whose vectors were freed: how far apart those of a corpus were, in degrees."""


def angles(built: Built) -> dict[str, float]:
    """By corpus, how far apart an ``encode`` stage's vectors are (:func:`mean_angle`); without those that cannot be
    read: whoever searches them finds the damage."""
    if ANGLES in built.results:
        found: dict[str, float] = built.results[ANGLES]
        return found
    found = {}
    for corpus in sorted(f for f in built.folder.iterdir() if f.is_dir()):
        with contextlib.suppress(OSError, ValueError):
            found[corpus.name] = mean_angle(open_shards(corpus))
    return found


def free_vectors(store: Store, key: str) -> int:
    """Free the files of the ``encode`` stage ``key``; the bytes freed. What it cost and found stays known."""
    built = store.glance("encode", key)
    return 0 if built is None else store.free("encode", key, {ANGLES: angles(built)})


class Readers:
    """Who reads which vectors, of the runs that are planned and want theirs to be freed.

    Vectors of a run that keeps them are kept, whoever else reads them.
    """

    def __init__(self, plans: Iterable[Plan], store: Store) -> None:
        self._store = store
        self._readers: dict[str, set[Stage]] = {}
        kept: set[str] = set()
        for plan in plans:
            for stage in plan.stages:
                if stage.name == "encode" and plan.run.config.store.keep_vectors:
                    kept.add(stage.key)
                for source in stage.inputs.values():
                    if source.name == "encode":
                        self._readers.setdefault(source.key, set()).add(stage)
        for key in kept:
            self._readers.pop(key, None)

    def free_after(self, stage: Stage) -> None:
        """Free the vectors that ``stage``, which stands now, was the last to read."""
        for source in stage.inputs.values():
            if source.name == "encode":
                self._free(source.key)

    def free_all(self) -> None:
        """Free all vectors that have no reader left."""
        for key in self._readers:
            self._free(key)

    def _free(self, key: str) -> None:
        readers = self._readers.get(key)
        if readers and all(self._store.has(reader.name, reader.key) for reader in readers):
            free_vectors(self._store, key)


class FreeingListener:
    """Passes everything on to another listener, and frees vectors as their last readers finish."""

    def __init__(self, listener: Listener, readers: Readers) -> None:
        self._listener, self._readers = listener, readers

    def stage_started(self, stage: Stage) -> None:
        """Passed on."""
        self._listener.stage_started(stage)

    def stage_advanced(self, stage: Stage, done: int, total: int | None, losses: dict[str, float]) -> None:
        """Passed on."""
        self._listener.stage_advanced(stage, done, total, losses)

    def stage_finished(self, stage: Stage, reused: bool, seconds: float) -> None:
        """Passed on; then what this stage read may go."""
        self._listener.stage_finished(stage, reused, seconds)
        self._readers.free_after(stage)
