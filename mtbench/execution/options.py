"""How a user wants runs to be planned and placed: two objects that check themselves and travel whole."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from mtbench.errors import UsageError
from mtbench.pipeline.plan import STAGES
from mtbench.storage.places import default_results, default_root, expanded, for_libraries

EXECUTORS = ("local", "ray")
SCHEDULERS = ("none", "asha")
MOST_GPUS = 1024
"""Of one run; only there to catch what was mistyped."""

Rerun = Literal["missing", "failed", "all"]
RERUNS: tuple[Rerun, ...] = ("missing", "failed", "all")


@dataclass(frozen=True)
class PlanOptions:
    """Where stages and records stand, which runs are done again, and the stage after which runs stop.

    ``store``, ``results``: None for the default. ``rerun``: ``missing`` takes what is not finished, ``failed`` also
    what failed. ``declared``: only to look at the plan, also where data or encoder are not here. UsageError for what
    none of them can be.
    """

    store: str | Path | None = None
    results: str | Path | None = None
    rerun: str = "missing"
    until: str | None = None
    declared: bool = False

    def __post_init__(self) -> None:
        if self.rerun not in RERUNS:
            raise UsageError(f"--rerun {self.rerun!r}: choose missing, failed or all")
        if self.until is not None and self.until not in STAGES:
            raise UsageError(f"--until {self.until!r}: no such stage. Stages: {', '.join(STAGES)}")

    @cached_property
    def store_folder(self) -> Path:
        """The folder of the store."""
        return for_libraries((expanded(self.store) if self.store else default_root()).absolute(), "the store")

    @cached_property
    def results_folder(self) -> Path:
        """The folder of the records."""
        return (default_results() if self.results is None else expanded(self.results)).absolute()


@dataclass(frozen=True)
class ExecutionOptions:
    """Who computes runs, and what each gets. UsageError for an unknown name, or for options that do not fit.

    ``address``: Ray's, None for a Ray of this process, ``auto``, ``HOST:PORT`` or ``ray://HOST:PORT``.
    ``gpus_per_run``: a fraction or a whole number. ``max_concurrent``: runs at the same time.
    ``scheduler``: ``asha`` stops weak settings of a sweep early.
    """

    executor: str = "local"
    address: str | None = None
    gpus_per_run: float | None = None
    max_concurrent: int | None = None
    scheduler: str = "none"

    def __post_init__(self) -> None:
        gpus = self.gpus_per_run
        if self.executor not in EXECUTORS:
            raise UsageError(f"--executor {self.executor!r}: choose {' or '.join(EXECUTORS)}")
        if self.executor == "local" and (self.address is not None or gpus is not None):
            raise UsageError("--address and --gpus-per-run belong to --executor ray")
        if gpus is not None and not 0 <= gpus <= MOST_GPUS:
            raise UsageError(f"--gpus-per-run must be a number from 0 to {MOST_GPUS}, got {gpus}")
        if gpus is not None and gpus > 1 and gpus != int(gpus):
            raise UsageError(f"--gpus-per-run above 1 must be a whole number, got {gpus}")
        if self.max_concurrent is not None and self.max_concurrent < 1:
            raise UsageError(f"--max-concurrent must be at least 1, got {self.max_concurrent}")
        if self.scheduler not in SCHEDULERS:
            raise UsageError(f"--scheduler {self.scheduler!r}: choose {' or '.join(SCHEDULERS)}")
        if self.scheduler != "none" and self.executor != "ray":
            raise UsageError(
                f"--scheduler {self.scheduler} stops runs that go on side by side; it needs --executor ray"
            )

    @property
    def round_size(self) -> int:
        """How many settings a sampler that learns from results is asked for at a time."""
        return self.max_concurrent or 4
