"""What a Ray worker does: some shared stages, or a whole run. It gets plain values and answers with plain values.

Everything of weight goes through the store, which all nodes see: stages, checkpoints of an episode under way (from
which a restarted worker goes on), and the finished record, which the driver puts among the results.
"""

from __future__ import annotations

import time
from pathlib import Path

from ray import tune

from mtbench.allocator import keep_freed_memory
from mtbench.errors import ConfigError, MtbenchError, RunError, is_mistake
from mtbench.execution.ray.messages import Report, UnitConfig, UnitReport
from mtbench.execution.ray.ranks import run_with_ranks
from mtbench.execution.ray.selection import selection_score, unscored_tasks
from mtbench.pipeline.context import Context
from mtbench.pipeline.followers import RanksLostError
from mtbench.pipeline.plan import Plan, Stage, make_plan
from mtbench.pipeline.request import ResolvedRun, RunRequest
from mtbench.pipeline.resolver import Resolver
from mtbench.pipeline.runner import build_with_inputs, run_plan
from mtbench.records.errors import describe_error
from mtbench.records.files import write_record_below
from mtbench.records.identity import run_id
from mtbench.registry import add_plugin_files
from mtbench.storage.store import Built, Store

REPORT_EVERY = 1.0
"""Seconds between two reports of one stage's progress."""

_TOOLS: dict[str, tuple[Store, Resolver]] = {}
"""By store: a worker that is used again has verified its stages and read its suites before."""


def run_trial(config: UnitConfig) -> None:
    """What Tune calls: one unit in this process and, where GPUs share the run, in its other ranks."""
    keep_freed_memory()
    run_with_ranks(lambda: run_unit(config, _tell_tune), config["ranks"])


def _tell_tune(report: UnitReport) -> None:
    tune.report(dict(report))


def run_unit(config: UnitConfig, report: Report) -> None:
    """Run one unit in this process (and its ranks, if it leads some).

    What another attempt may not meet again is raised, and Tune tries again from the checkpoint in the store (as it
    does when the worker dies); everything else is reported as ``failed``, once.
    """
    root = Path(config["store"])
    try:
        plan, store = _plan(config["request"], root)
        _check_same(plan, config)
        listener = ReportingListener(plan.run, store, report)
        if config["stages"]:
            _build_stages(plan, set(config["stages"]), store, listener)
        else:
            outbox = Path(config["records"])
            ended = run_plan(plan, store, outbox, until=config["until"], listener=listener, write=write_record_below)
            if ended.error is not None:
                raise ended.error
    except MtbenchError as error:
        if _may_pass(error):
            raise
        failed = describe_error(error, {root: "<store>"})
        if is_mistake(error):
            failed["message"] = str(error)  # it ends the experiment and stands in no record
        report({"failed": failed})


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


def _build_stages(plan: Plan, keys: set[str], store: Store, listener: ReportingListener) -> None:
    """The stages named by ``keys``; what they read is checked, and built again where it is damaged or gone."""
    try:
        context, built = Context(plan.run, store, listener), dict[str, Built]()
        for stage in plan.stages:
            if stage.key in keys and stage.key not in built and store.open(stage.name, stage.key) is None:
                build_with_inputs(context, stage, built)
    except MtbenchError:
        raise
    except Exception as error:
        raise RunError(f"{type(error).__name__}: {error}") from error


def _check_same(plan: Plan, config: UnitConfig) -> None:
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

    def __init__(self, run: ResolvedRun, store: Store, report: Report) -> None:
        self._run, self._store, self._report = run, store, report
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
        report: UnitReport = {"stage": stage.label, "finished": True, "reused": reused, "seconds": seconds}
        scored = self._store.glance(stage.name, stage.key) if stage.name == "evaluate" else None
        if scored is not None and stage.episode is not None:
            score = selection_score(self._run, scored)
            if score is None:
                report["unscored"] = unscored_tasks(self._run, scored)
            elif stage.episode > 0:  # before the first episode all settings are alike
                report["episode"], report["selection"] = stage.episode, score
        self._report(report)
