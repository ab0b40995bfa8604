"""``mtbench.run``: the command line's ``run`` for Python."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from mtbench.computing import caller_as_it_was
from mtbench.execution.executors import LocalExecutor
from mtbench.execution.matrix import RunMatrix
from mtbench.execution.options import PlanOptions, Rerun
from mtbench.execution.planned import plan_runs
from mtbench.execution.progress import Reporter
from mtbench.protocols.expand import MULTITASK, ProtocolChoice
from mtbench.records.record import RETRIEVERS, RunRecord
from mtbench.storage.places import expanded

_ONE_AT_A_TIME = threading.RLock()
"""Models are made and seeded with generators and defaults of the whole process."""


def run(
    optimizer: str | Sequence[str],
    suite: str | Path,
    *,
    seeds: Sequence[int] | int = (0,),
    profile: str | Path = "mini",
    set: Sequence[str] | Mapping[str, object] = (),
    encoder: str | Path | None = None,
    limit: int | None = None,
    plugins: Sequence[str | Path] = (),
    store: str | Path | None = None,
    results: str | Path | None = None,
    rerun: Rerun = "missing",
    until: str | None = None,
    baselines: Sequence[str] = RETRIEVERS,
    protocol: str | Sequence[str] = MULTITASK,
    tasks: Sequence[str] = (),
    examples: Sequence[int] | int = (),
    start: str | Sequence[str] = (),
    fusion: str | Sequence[str] = (),
    reader: bool = False,
    reporter: Reporter | None = None,
) -> list[RunRecord]:
    """Run the whole pipeline for every combination and return the records, baselines first.

    A Path names a folder or file where a string may also be a registered name. ``set`` has the items of ``--set``,
    as ``"tau=2"`` or ``{"tau": 2}``; a number per task may be a mapping. Raises the errors of ``mtbench.errors`` for a
    user's mistake before any work; a run that fails has ``status`` ``failed`` in its record. Calls from several threads
    wait for each other. ``protocol``, ``tasks``, ``examples``, ``start``, ``fusion`` and ``reader`` are the command's
    options.

    The process stays as it was: threads, rounding, random states, environment, warnings. Only this call knows
    ``plugins``: ``get_optimizer`` and other calls do not know their names unless ``MTBENCH_PLUGINS`` names the files.
    """
    matrix = RunMatrix(
        [optimizer] if isinstance(optimizer, str) else list(optimizer),
        _place(suite),
        [seeds] if isinstance(seeds, int) else list(seeds),
        _place(profile),
        [f"{k}={_text(v)}" for k, v in set.items()] if isinstance(set, Mapping) else list(set),
        None if encoder is None else _place(encoder),
        limit,
        tuple(str(file) for file in plugins),
        tuple(baselines),
        ProtocolChoice(
            _several(protocol),
            list(tasks),
            [examples] if isinstance(examples, int) else examples,
            _several(start),
            _several(fusion),
        ),
        reader,
    )
    options = PlanOptions(store, results, rerun, until)
    with _ONE_AT_A_TIME, caller_as_it_was():
        return LocalExecutor(reporter or Reporter(quiet=True)).run(plan_runs(matrix, options))


def _text(value: object) -> str:
    """A value as ``--set`` reads it; mappings (a number per task) and lists as JSON."""
    if isinstance(value, Mapping):
        return json.dumps(dict(value))
    return json.dumps(value) if isinstance(value, (list, tuple)) else str(value)


def _several(names: str | Sequence[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _place(name: str | Path) -> str:
    """A Path always means a place, never a registered name."""
    return str(expanded(name).absolute()) if isinstance(name, Path) else name
