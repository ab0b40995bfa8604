"""Records with known contents, made from a small model of runs: truth + seed noise + method's own noise."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from mtbench.records.files import write_record
from mtbench.records.identity import run_id

TASKS = {"nq": "Natural Questions", "hotpotqa": "HotpotQA", "fever": "FEVER", "wow": "Wizard of Wikipedia"}
LEVELS = {"nq": 0.60, "hotpotqa": 0.45, "fever": 0.85, "wow": 0.58}
NAMES = list(LEVELS)


def make_spec(optimizer: str = "naive", seed: int = 0, **changes: Any) -> dict[str, Any]:
    """A spec of the suite ``toy``; ``params`` and ``config`` go where they belong, the rest on top."""
    params, config = changes.pop("params", {}), changes.pop("config", {})
    spec = {
        "optimizer": {"name": optimizer, "params": params},
        "suite": "toy",
        "suite_version": 1,
        "suite_fingerprint": "f" * 12,
        "profile": "mini",
        "seed": seed,
        "config": {
            "train": {"lr": 1e-3, "episodes": 3, "temperature": 0.05},
            "model": {"kind": "t5"},
            **config,
        },
        "limit": None,
    }
    return {**spec, **changes}


def make_record(
    optimizer: str = "naive",
    seed: int = 0,
    *,
    gain: float = 0.0,
    noise: float = 0.002,
    tasks: dict[str, float] | None = None,
    status: str = "complete",
    extra: dict[str, Any] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """One record; ``gain`` is in fractions of 1, ``noise`` the standard deviation of one run's task values."""
    shared = random.Random(f"seed {seed}")
    own = random.Random(f"{optimizer} {seed} {sorted(spec.get('params', {}).items())}")
    values = (
        tasks
        if tasks is not None
        else {name: level + gain + shared.gauss(0, 0.01) + own.gauss(0, noise) for name, level in LEVELS.items()}
    )
    described = make_spec(optimizer, seed, **spec)
    record: dict[str, Any] = {
        "schema": 1,
        "run_id": run_id(described),
        "status": status,
        "spec": described,
        "metric": "rprecision_page",
        "tasks": {
            name: {
                "title": TASKS.get(name, name),
                "metrics": {"rprecision_page": value, "recall@100": min(1.0, value + 0.1)},
                "num_queries": 300,
            }
            for name, value in values.items()
        },
        "stages": [{"name": "train", "episode": 3, "fingerprint": "a" * 64, "reused": False, "seconds": 40.0}],
        "cost": {
            "seconds": {"train": 40.0},
            "total_seconds": 100.0 + seed,
            "step_ms": 50.0 if optimizer == "naive" else 75.0,
            "phase_ms": {"forward_backward": 40.0, "combine": 5.0, "update": 5.0},
            "peak_memory_bytes": 500_000_000,
            "optimizer_state_bytes": 0 if optimizer == "naive" else 8_000_000,
        },
        "tuning": {"trials": 0 if optimizer == "naive" else 6},
        "environment": {"git_commit": None, "mtbench": "0.1.0", "device": "cpu"},
        "error": None,
    }
    if len(values) == len(TASKS) and status == "complete":
        record["average"] = sum(values.values()) / len(values)
    return {**record, **(extra or {})}


def write_all(results: Path, records: list[dict[str, Any]]) -> Path:
    """Write the records below ``results`` and return it."""
    for record in records:
        write_record(results, record)
    return results


def baselines() -> list[dict[str, Any]]:
    """The rows of BM25 and of the untrained encoder."""
    bm25 = {"nq": 0.61, "hotpotqa": 0.47, "fever": 0.80, "wow": 0.40}
    return [
        make_record("bm25", 0, tasks=bm25),
        make_record("untrained", 0, tasks=dict.fromkeys(TASKS, 0.03)),
    ]


def family(seeds: int = 3, **gains: float) -> list[dict[str, Any]]:
    """``seeds`` runs of naive and of each named optimizer with its true gain, and the baselines."""
    runs = [make_record("naive", seed) for seed in range(seeds)]
    runs += [make_record(name, seed, gain=gain) for name, gain in gains.items() for seed in range(seeds)]
    return baselines() + runs


def part(name: str, task: str, **changes: Any) -> dict[str, Any]:
    """``spec.protocol`` of one run."""
    trained = [t for t in NAMES if t != task] if name == "leave-one-out" else [task]
    usual = {"name": name, "task": task, "tasks": trained, "examples": None, "start": "encoder", "budget": "steps"}
    return usual | changes


def run_of(name: str, task: str, seed: int, own: float, other: float, **more: Any) -> dict[str, Any]:
    """A run that scores ``own`` on the task it serves and ``other`` on the rest."""
    optimizer, changes = more.pop("optimizer", "naive"), more.pop("changes", {})
    protocol = part(name, task, **changes)
    text = f"-{task}" if name == "leave-one-out" else task
    train = {"lr": 1e-3, "episodes": 3, "temperature": 0.05, "tasks": text}
    train |= {k: v for k, v in protocol.items() if k in ("start", "budget") and v not in ("encoder", "steps")}
    tasks = {t: own + seed / 100 if t == task else other for t in NAMES}
    config = {"train": train, "model": {"kind": "t5"}}
    record = make_record(optimizer, seed, tasks=tasks, config=config, protocol=protocol, **more)
    record.pop("average", None)
    return record


def per_task(own: float = 0.5, seeds: tuple[int, ...] = (0, 1, 2), **changes: Any) -> list[dict[str, Any]]:
    return [run_of("per-task", t, s, own, 0.2, changes=changes) for t in NAMES for s in seeds]
