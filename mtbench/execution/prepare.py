"""``mtbench prepare``: raw files fetched or found, checked, and built into the suite's prepared form in the store."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtbench.data.loading import data_profile, load_suite, raw_folder, suite_folder
from mtbench.data.obtain import PlannedFile, check_obtainable, obtain_raw, plan_files
from mtbench.data.prepared import PreparedSuite
from mtbench.execution.progress import Reporter
from mtbench.model.source import EncoderSource, fetch_encoder, find_encoder
from mtbench.pipeline.context import Context
from mtbench.pipeline.plan import make_plan
from mtbench.pipeline.request import Resolver, RunRequest
from mtbench.pipeline.runner import build_stage
from mtbench.registry import get_suite
from mtbench.storage.places import default_root, expanded
from mtbench.storage.store import Store

WORKERS_VARIABLE = "MTBENCH_PREPARE_WORKERS"


@dataclass(frozen=True)
class PrepareOrder:
    """What the user asks for."""

    suite: str
    profile: str = "mini"
    raw: Path | None = None
    store: Path | None = None
    encoder: str | None = None
    workers: int | None = None

    @property
    def home(self) -> Path:
        """The store's folder."""
        return expanded(self.store) if self.store else default_root()

    @property
    def needs_files(self) -> bool:
        """Whether official files are involved: a registered suite in another profile than ``mini``."""
        return suite_folder(self.suite) is None and data_profile(self.profile, get_suite(self.suite)) != "mini"

    @property
    def request(self) -> RunRequest:
        """A run whose first stage is what is asked for."""
        return RunRequest("untrained", self.suite, profile=self.profile, encoder=self.encoder)

    @property
    def encoder_source(self) -> EncoderSource:
        """The encoder whose tokenizer the data need, here or to be fetched."""
        return find_encoder(Resolver(self.home).config(self.request).encoder.path)


def plan_prepare(order: PrepareOrder) -> dict[str, Any]:
    """What would be done: official files with sizes and states, and the folder; asks servers for unknown sizes."""
    encoder = order.encoder_source
    known = {
        "suite": order.suite,
        "profile": order.profile,
        "encoder": {**encoder.content, "state": "there" if encoder.is_here else "fetch"},
    }
    if not order.needs_files:
        return {**known, "files": [], "bytes_to_fetch": 0}
    definition = get_suite(order.suite)
    folder = order.raw or raw_folder(definition, data_profile(order.profile, definition), order.home)
    files = [
        _describe(item) for item in plan_files(definition, folder, fetching=order.raw is None, ask=order.raw is None)
    ]
    to_fetch = sum((f["bytes"] or 0) - f["bytes_here"] for f in files if f["state"] in ("fetch", "partial"))
    return {
        **known,
        "folder": str(folder),
        "files": files,
        "bytes_to_fetch": to_fetch,
    }


def _describe(item: PlannedFile) -> dict[str, Any]:
    return {"path": item.download.path, "state": item.state, "bytes": item.size, "bytes_here": item.have}


def prepare_suite(order: PrepareOrder, reporter: Reporter) -> dict[str, Any]:
    """Fetch or check the raw files, build the prepared form, and return its numbers.

    Raises the errors of ``mtbench.errors``; an interrupted or failed call goes on where it stopped when repeated.
    """
    raw, encoder = order.raw, order.encoder_source
    if order.needs_files:
        definition = get_suite(order.suite)
        check_obtainable(definition, raw, raw_folder(definition, data_profile(order.profile, definition), order.home))
    else:
        load_suite(order.suite, order.profile, raw, order.home)
    if not encoder.is_here:  # the smaller part first, when nothing stands against the larger
        reporter.line(f"      encoder {encoder.path}: fetched from the hub")
        fetch_encoder(encoder.path)
    if order.needs_files:
        lines = _FetchLines(reporter)
        suite = obtain_raw(definition, data_profile(order.profile, definition), raw, order.home, lines)
        raw = suite.root
    os.environ[WORKERS_VARIABLE] = str(order.workers or os.cpu_count() or 1)
    run = Resolver(order.home, raw).resolve(order.request)
    stage = make_plan(run).stages[0]
    context = Context(run, Store(order.home), reporter.listener(f"prepare {order.suite}"))
    built = build_stage(context, stage)
    return {"reused": built.reused, "seconds": built.seconds, **_numbers(context.prepared(stage))}


def _numbers(suite: PreparedSuite) -> dict[str, Any]:
    corpora = {
        name: {"passages": len(c), "pages": c.num_pages, "tokens": len(c.token_ids)}
        for name, c in suite.corpora.items()
    }
    tasks = {name: {"train": len(t.train), "dev": len(t.dev)} for name, t in suite.tasks.items()}
    notes = {place: counts for place, counts in suite.notes.items() if counts}
    label = f"{suite.name}@{suite.version}"
    return {"suite": label, "corpora": corpora, "tasks": tasks, "notes": notes}


class _FetchLines:
    """Reports a download now and then: bytes, rate, time left."""

    def __init__(self, reporter: Reporter) -> None:
        from mtbench.execution.progress import PLAIN_EVERY

        self._reporter, self._every = reporter, PLAIN_EVERY
        self._name, self._began, self._first, self._last = "", 0.0, 0, 0.0

    def __call__(self, name: str, done: int, total: int | None) -> None:
        import time

        from mtbench.execution.progress import clock

        now = time.monotonic()
        if name != self._name:
            self._name, self._began, self._first, self._last = name, now, done, now
        elif now - self._last >= self._every or done == total:
            self._last = now
            rate = (done - self._first) / max(now - self._began, 1e-3)
            left = f", {clock((total - done) / rate)} left" if total and rate > 0 else ""
            size = f"/{total / 1e6:,.0f}" if total else ""
            self._reporter.line(f"      {name}: {done / 1e6:,.0f}{size} MB, {rate / 1e6:.1f} MB/s{left}")
