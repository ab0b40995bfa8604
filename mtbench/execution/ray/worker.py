"""What a Ray worker does: some shared stages, or a whole run. It gets plain values and answers with plain values.

Everything of weight goes through the store, which all nodes see: stages, checkpoints of an episode under way (from
which a restarted worker goes on), and the finished record, which the driver puts among the results.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray import tune

from mtbench.errors import ConfigError, MtbenchError, RunError
from mtbench.pipeline.context import Context
from mtbench.pipeline.followers import RanksLostError
from mtbench.pipeline.plan import Plan, Stage, make_plan
from mtbench.pipeline.request import Resolver, RunRequest
from mtbench.pipeline.runner import build_stage, carry_out
from mtbench.records.errors import describe_error
from mtbench.records.files import run_id, write_record
from mtbench.registry import add_plugin_files
from mtbench.storage.store import Store

REPORT_EVERY = 1.0
"""Seconds between two reports of one stage's progress."""

Report = Callable[[dict[str, Any]], None]

_TOOLS: dict[str, tuple[Store, Resolver]] = {}
"""By store: a worker that is used again has verified its stages and read its suites before."""


def records_folder(store: Path, experiment: str) -> Path:
    """Where workers of one experiment leave records for the driver."""
    return store / "ray" / f"{experiment}-records"


def work(config: dict[str, Any]) -> None:
    """What Tune calls. ``config``: request (JSON), stages (fingerprints; empty for the run), run_id, until, store,
    records, ranks (processes that share the run, one per GPU)."""
    if config["ranks"] > 1:
        from mtbench.execution.ray.ranks import carry_out_with_ranks

        carry_out_with_ranks(config, tune.report)
    else:
        carry_out_unit(config, tune.report)


def carry_out_unit(config: dict[str, Any], report: Report) -> None:
    """Carry out one unit in this process (and its ranks, if it leads some).

    What another attempt may not meet again is raised, and Tune tries again from the checkpoint in the store (as it
    does when the worker dies); everything else is reported as ``failed``, once.
    """
    root = Path(config["store"])
    try:
        plan, store = _plan(config["request"], root)
        _check_same(plan, config)
        listener = ReportingListener(store, report)
        if config["stages"]:
            try:
                _build(plan, set(config["stages"]), store, listener)
            except MtbenchError:
                raise
            except Exception as error:
                raise RunError(f"{type(error).__name__}: {error}") from error
        else:
            folder = Path(config["records"])
            carry_out(
                plan,
                config["run_id"],
                store,
                lambda record: write_record(folder, record),
                until=config["until"],
                listener=listener,
            )
    except MtbenchError as error:
        if _may_pass(error):
            raise
        report({"failed": describe_error(error, {root: "<store>"})})


def _may_pass(error: MtbenchError) -> bool:
    """Whether it comes from the machine and not from the run: no memory, a lost connection, a sick GPU."""
    if isinstance(error, RanksLostError):
        return True
    cause = error.__cause__
    if isinstance(cause, MemoryError | ConnectionError | TimeoutError):
        return True
    words = ("out of memory", "cuda error", "nccl", "cublas", "cudnn")
    return isinstance(cause, RuntimeError) and any(word in str(cause).lower() for word in words)


def _plan(request: str, root: Path) -> tuple[Plan, Store]:
    wanted = RunRequest.from_json(request)
    add_plugin_files(list(wanted.plugins))
    store, resolver = _TOOLS.setdefault(str(root), (Store(root), Resolver(root)))
    return make_plan(resolver.resolve(wanted)), store


def _build(plan: Plan, keys: set[str], store: Store, listener: ReportingListener) -> None:
    """The stages named by ``keys``; what they read is verified, and built again where it is damaged."""
    context = Context(plan.run, store, listener)
    needed: dict[str, Stage] = {}

    def add(stage: Stage) -> None:
        for parent in stage.inputs.values():
            add(parent)
        needed[stage.key] = stage

    for stage in plan.stages:
        if stage.key in keys:
            add(stage)
    for stage in needed.values():
        build_stage(context, stage)


def _check_same(plan: Plan, config: dict[str, Any]) -> None:
    """ConfigError where this machine understands the request differently from the one that planned it."""
    known = {stage.key for stage in plan.stages}
    asked = set(config["stages"])
    same = asked <= known if asked else run_id(plan.run.specification) == config["run_id"]
    if not same:
        spec = plan.run.specification
        raise ConfigError(
            f"this worker has other code, suite {spec['suite']!r} or encoder {spec['encoder']['name']!r} than the "
            "machine that planned the run\n"
            "  Give all machines the same mtbench and files; a hub's encoder: mtbench prepare SUITE --encoder NAME"
        )


class ReportingListener:
    """Reports progress to the driver, now and then; and a model's score on the slice of train, which schedulers use."""

    def __init__(self, store: Store, report: Report) -> None:
        self._store, self._report = store, report
        self._began = self._last = 0.0

    def stage_started(self, stage: Stage) -> None:
        """A stage is being computed."""
        self._began = self._last = time.monotonic()
        self._report({"stage": stage.label, "step": 0})

    def stage_advanced(self, stage: Stage, done: int, total: int | None, losses: dict[str, float]) -> None:
        """At most one report a second."""
        now = time.monotonic()
        if now - self._last < REPORT_EVERY:
            return
        self._last = now
        left = (now - self._began) / done * (total - done) if total and done else None
        loss = sum(losses.values()) / len(losses) if losses else None
        self._report({"stage": stage.label, "step": done, "total": total, "loss": loss, "left": left})

    def stage_finished(self, stage: Stage, reused: bool, seconds: float) -> None:
        """A stage stands in the store."""
        report: dict[str, Any] = {"stage": stage.label, "finished": True, "reused": reused, "seconds": seconds}
        if stage.name == "evaluate" and stage.episode:
            score = self._selection(stage)
            if score is not None:
                report.update(episode=stage.episode, selection=score)
        self._report(report)

    def _selection(self, stage: Stage) -> float | None:
        built = self._store.open(stage.name, stage.key)
        if built is None:
            return None
        metrics = [task["metrics"] for task in built.results["selection"].values()]
        shared = set.intersection(*(set(m) for m in metrics)) if metrics else set()
        for name in ("rprecision_page", "recall@100"):
            if name in shared:
                return float(sum(m[name] for m in metrics) / len(metrics))
        return None
