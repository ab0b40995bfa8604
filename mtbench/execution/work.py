"""From what a user asks for to jobs: one per optimizer, setting and seed, and the rows they are compared with."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mtbench.config import split_assignments
from mtbench.errors import ConfigError, UsageError, shown
from mtbench.hyperparameters import hyperparameters
from mtbench.pipeline.plan import Plan, make_plan
from mtbench.pipeline.request import Resolver, RunRequest
from mtbench.records.files import read_record, record_path, run_id
from mtbench.registry import BASELINES, get_optimizer

MENDED_BY_USER = ("DataError", "ConfigError", "StoreError")
"""Errors that asking again is an answer to: such a failed run counts as missing."""
Rerun = Literal["missing", "failed", "all"]


@dataclass
class Job:
    """One run to carry out."""

    plan: Plan
    run_id: str
    finished: dict[str, Any] | None = None
    """The record of an earlier call that makes this one unnecessary."""
    note: str = ""
    """What a sweep varies beside hyperparameters, such as ``train.lr=0.001``."""

    @property
    def label(self) -> str:
        """For people: optimizer, what differs from its defaults, seed."""
        chosen = self.plan.run.optimizer
        text = str(chosen["name"])
        if chosen["params"]:
            defaults = {n: h.default for n, h in hyperparameters(get_optimizer(text)).items()}
            changed = [f"{k}={v}" for k, v in chosen["params"].items() if v != defaults[k]]
            text += f" ({', '.join(changed)})" if changed else ""
        text += f" {self.note}" if self.note else ""
        return f"{text} seed {self.plan.run.request.seed}"

    def failed_record(self, error: Exception) -> dict[str, Any]:
        """What callers get for a run that failed; the full record was written where it failed."""
        return {
            "run_id": self.run_id,
            "status": "failed",
            "spec": self.plan.run.specification,
            "error": {"type": type(error).__name__, "message": str(error)},
        }


@dataclass(frozen=True)
class Order:
    """What a user asks for, before anything is looked up."""

    optimizers: Sequence[str]
    suite: str
    seeds: Sequence[int] = (0,)
    profile: str = "mini"
    assignments: Sequence[str] = ()
    encoder: str | None = None
    limit: int | None = None
    plugins: tuple[str, ...] = ()
    baselines: Sequence[str] = BASELINES
    grid: dict[str, list[str]] = field(default_factory=dict)


def requests(order: Order) -> list[RunRequest]:
    """One request per combination, baselines first. ConfigError for a hyperparameter that no named optimizer has."""
    if not order.optimizers:
        raise UsageError("name at least one optimizer; `mtbench ls optimizers` lists them")
    _check_seeds(order.seeds)
    if order.limit is not None and (isinstance(order.limit, bool) or not isinstance(order.limit, int)):
        raise UsageError(f"limit must be a whole number or None, got {shown(order.limit)}")
    settings, texts = split_assignments(order.assignments)
    params = assign_hyperparameters(order.optimizers, texts)
    common: dict[str, Any] = {
        "suite": order.suite,
        "profile": order.profile,
        "settings": settings,
        "encoder": order.encoder,
        "limit": order.limit,
        "plugins": order.plugins,
    }
    rows = [RunRequest(name, seed=order.seeds[0], **common) for name in order.baselines]
    named = dict.fromkeys(order.optimizers)
    rows += [
        RunRequest(name, seed=seed, params=params.get(name, {}), **common)
        for name, seed in itertools.product(named, order.seeds)
    ]
    return rows


def _check_seeds(seeds: Sequence[int]) -> None:
    if not seeds:
        raise UsageError("--seeds is empty: name at least one seed")
    for seed in seeds:
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
            raise UsageError(f"--seeds: a seed is a whole number from 0 to 2^63 - 1, got {shown(seed)}")
    if len(set(seeds)) != len(seeds):
        raise UsageError(f"--seeds names a seed twice: {shown(list(seeds))}")


def assign_hyperparameters(optimizers: Sequence[str], texts: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Give each ``KEY=VALUE`` to the named optimizers that have it; ``NAME.KEY`` to that one alone."""
    chosen: dict[str, dict[str, Any]] = {name: {} for name in optimizers if name not in BASELINES}
    declared = {name: hyperparameters(get_optimizer(name)) for name in chosen}
    for key, text in texts.items():
        owner, dot, field_name = key.rpartition(".")
        takers = [owner] if dot else [n for n in chosen if field_name in declared[n]]
        if dot and owner not in chosen:
            raise ConfigError(f"--set {key}: {owner!r} is neither a section of the settings nor a named optimizer")
        if not takers or field_name not in declared[takers[0]]:
            known = "; ".join(f"{n}: {', '.join(d)}" for n, d in declared.items())
            raise ConfigError(f"--set {key}={text}: none of the named optimizers has {field_name!r}. They have {known}")
        for name in takers:
            chosen[name][field_name] = declared[name][field_name].parse(text, name)
    return chosen


def make_jobs(
    rows: Sequence[RunRequest], resolver: Resolver, results: Path, rerun: Rerun, until: str | None = None
) -> list[Job]:
    """Resolve and plan; runs that an earlier call finished (as far as ``until``) carry their record."""
    jobs, seen = [], set()
    for row in rows:
        plan = make_plan(resolver.resolve(row))
        identifier = run_id(plan.run.specification)
        if identifier in seen:
            continue
        seen.add(identifier)
        earlier = record_path(results, plan.run.specification, identifier)
        record = read_record(earlier) if earlier.exists() else None
        finished = _finished(record.record if record and record.usable else None, rerun)
        if finished and until == "analyze" and "analysis" not in finished and plan.evaluations:
            finished = None
        jobs.append(Job(plan, identifier, finished))
    return jobs


def _finished(record: dict[str, Any] | None, rerun: Rerun) -> dict[str, Any] | None:
    if record is None or rerun == "all":
        return None
    if record.get("status") == "failed" and (record.get("error") or {}).get("type") in MENDED_BY_USER:
        return None  # whoever asks again has mended the data or the disk
    done = {"complete"} if rerun == "failed" else {"complete", "failed"}
    return record if record.get("status") in done else None


def check_rerun(text: str) -> Rerun:
    """The value of ``--rerun``; UsageError if it is none."""
    choices: tuple[Rerun, ...] = ("missing", "failed", "all")
    for choice in choices:
        if text == choice:
            return choice
    raise UsageError(f"--rerun {text!r}: choose missing, failed or all")
