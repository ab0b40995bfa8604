"""What crosses between the driver and its workers: plain JSON values, nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypedDict

from mtbench.execution.progress import StageReport
from mtbench.records.record import ErrorInfo


class UnitConfig(TypedDict):
    """One unit for one worker.

    ``request``: a ``RunRequest`` as JSON. ``stages``: fingerprints, empty for the whole run. ``store``: its folder,
    which all nodes see. ``records``: the folder where the record of a run is left for the driver. ``ranks``:
    processes that share the run, one per GPU.
    """

    unit: int
    request: str
    stages: list[str]
    run_id: str
    until: str | None
    store: str
    records: str
    ranks: int


class UnitReport(StageReport, total=False):
    """What a worker tells: how a stage goes on, what a scored model reached, or what stopped the unit.

    ``episode`` and ``selection`` (the suite's metric on the slice of train, a fraction of 1) are what schedulers
    compare; ``unscored`` names the tasks for want of which there is no ``selection``.
    """

    episode: int
    selection: float
    unscored: list[str]
    failed: ErrorInfo


Report = Callable[[UnitReport], None]


class Experiment(TypedDict):
    """A whole experiment for a driver on the cluster.

    ``requests``: run id -> ``RunRequest`` as JSON. ``execution``: the fields of ``ExecutionOptions`` as JSON.
    """

    requests: dict[str, str]
    store: str
    until: str | None
    execution: str
