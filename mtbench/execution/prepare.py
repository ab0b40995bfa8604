"""``mtbench prepare``: raw files fetched or found, checked, and built into the suite's prepared form in the store."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NotRequired, TypedDict

from mtbench.data.loading import data_profile, load_suite, raw_folder, suite_folder
from mtbench.data.obtain import PlannedFile, check_obtainable, obtain_raw, plan_files
from mtbench.data.prepared import PreparedSuite
from mtbench.execution.progress import PLAIN_EVERY, Reporter, clock
from mtbench.model.source import EncoderSource, fetch_encoder, find_encoder
from mtbench.pipeline.context import Context
from mtbench.pipeline.plan import make_plan
from mtbench.pipeline.request import RunRequest
from mtbench.pipeline.resolver import Resolver
from mtbench.pipeline.runner import build_stage
from mtbench.registry import get_suite
from mtbench.storage.places import default_root, expanded
from mtbench.storage.store import Built, Store


@dataclass(frozen=True)
class PrepareRequest:
    """What the user asks for."""

    suite: str
    profile: str = "mini"
    raw: Path | None = None
    store: Path | None = None
    encoder: str | None = None
    workers: int | None = None
    reader: str | None = None
    """A hub name or folder of the reader that runs will have (``run --reader``), fetched too."""

    @property
    def home(self) -> Path:
        """The store's folder."""
        return expanded(self.store) if self.store else default_root()

    @property
    def data_profile(self) -> str:
        """Which of the suite's data the profile means."""
        return data_profile(self.profile, get_suite(self.suite))

    @property
    def needs_files(self) -> bool:
        """Whether official files are involved: a registered suite in another profile than ``mini``."""
        return suite_folder(self.suite) is None and self.data_profile != "mini"

    @property
    def raw_folder(self) -> Path:
        """Where a registered suite's official files are kept."""
        return raw_folder(get_suite(self.suite), self.data_profile, self.home)

    @property
    def run(self) -> RunRequest:
        """A run whose first stage is what is asked for."""
        return RunRequest("untrained", self.suite, profile=self.profile, encoder=self.encoder)

    @property
    def encoder_source(self) -> EncoderSource:
        """The encoder whose tokenizer the data need, here or to be fetched."""
        return find_encoder(Resolver(self.home).config(self.run).encoder.path)

    @property
    def reader_source(self) -> EncoderSource | None:
        """The reader, here or to be fetched; None where none is asked for."""
        return None if self.reader is None else find_encoder(self.reader, "--reader")


class PlannedFileRow(TypedDict):
    """One official file: where it belongs, ``there``, ``fetch``, ``partial``, ``missing`` or ``by hand``, its bytes."""

    path: str
    state: str
    bytes: int | None
    bytes_here: int


class PreparePlan(TypedDict):
    """What would be fetched. ``folder``: of the official files, absent where none are needed."""

    suite: str
    profile: str
    encoder: dict[str, object]
    reader: NotRequired[dict[str, object]]
    folder: NotRequired[str]
    files: list[PlannedFileRow]
    bytes_to_fetch: int


class Prepared(TypedDict):
    """What a suite's prepared form has, and whether it stood already."""

    reused: bool
    seconds: float
    suite: str
    corpora: dict[str, dict[str, int]]
    tasks: dict[str, dict[str, int]]
    notes: dict[str, dict[str, int]]


def plan_prepare(request: PrepareRequest) -> PreparePlan:
    """What would be done: official files with sizes and states, and the folder; asks servers for unknown sizes."""
    encoder = request.encoder_source
    plan: PreparePlan = {
        "suite": request.suite,
        "profile": request.profile,
        "encoder": _model_row(encoder),
        "files": [],
        "bytes_to_fetch": 0,
    }
    reader = request.reader_source
    if reader is not None:
        plan["reader"] = _model_row(reader)
    if request.needs_files:
        definition, folder = get_suite(request.suite), request.raw or request.raw_folder
        is_ours = request.raw is None
        plan["folder"] = str(folder)
        plan["files"] = [_row(item) for item in plan_files(definition, folder, fetching=is_ours, ask=is_ours)]
        waiting = [file for file in plan["files"] if file["state"] in ("fetch", "partial")]
        plan["bytes_to_fetch"] = sum((file["bytes"] or 0) - file["bytes_here"] for file in waiting)
    return plan


def _model_row(source: EncoderSource) -> dict[str, object]:
    return {**source.content, "state": "there" if source.is_here else "fetch"}


def _row(item: PlannedFile) -> PlannedFileRow:
    return {"path": item.download.path, "state": item.state, "bytes": item.size, "bytes_here": item.have}


def prepare_suite(request: PrepareRequest, reporter: Reporter) -> Prepared:
    """Fetch or check the raw files, build the prepared form, and return its numbers.

    Raises the errors of ``mtbench.errors``; an interrupted or failed call goes on where it stopped when repeated.
    """
    raw, encoder = request.raw, request.encoder_source
    if request.needs_files:
        check_obtainable(get_suite(request.suite), raw, request.raw_folder)
    else:
        load_suite(request.suite, request.profile, raw, request.home)
    # the smaller part first, when nothing stands against the larger
    for what, source in (("encoder", encoder), ("reader", request.reader_source)):
        if source is not None and not source.is_here:
            reporter.line(f"      {what} {source.path}: fetched from the hub")
            fetch_encoder(source.path)
    if request.needs_files:
        definition, lines = get_suite(request.suite), _FetchLines(reporter)
        raw = obtain_raw(definition, request.data_profile, raw, request.home, lines).root
    run = Resolver(request.home, raw).resolve(request.run)
    stage = make_plan(run).stages[0]
    workers = request.workers or os.cpu_count() or 1
    context = Context(run, Store(request.home), reporter.listener(f"prepare {request.suite}"), workers)
    built = build_stage(context, stage)
    return _numbers(context.prepared(stage), built)


def _numbers(suite: PreparedSuite, built: Built) -> Prepared:
    corpora = {
        name: {"passages": len(c), "pages": c.num_pages, "tokens": len(c.token_ids)}
        for name, c in suite.corpora.items()
    }
    return {
        "reused": built.reused,
        "seconds": built.seconds,
        "suite": f"{suite.name}@{suite.version}",
        "corpora": corpora,
        "tasks": {name: {"train": len(t.train), "dev": len(t.dev)} for name, t in suite.tasks.items()},
        "notes": {place: counts for place, counts in suite.notes.items() if counts},
    }


class _FetchLines:
    """Reports a download now and then: bytes, rate, time left."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._name, self._began, self._first, self._last = "", 0.0, 0, 0.0

    def __call__(self, name: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        if name != self._name:
            self._name, self._began, self._first, self._last = name, now, done, now
        elif now - self._last >= PLAIN_EVERY or done == total:
            self._last = now
            rate = (done - self._first) / max(now - self._began, 1e-3)
            left = f", {clock((total - done) / rate)} left" if total and rate > 0 else ""
            size = f"/{total / 1e6:,.0f}" if total else ""
            self._reporter.line(f"      {name}: {done / 1e6:,.0f}{size} MB, {rate / 1e6:.1f} MB/s{left}")
