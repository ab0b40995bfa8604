"""Deleting stored stages that records no longer need."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from mtbench.errors import StoreError, UnknownNameError, UsageError
from mtbench.pipeline.plan import STAGES
from mtbench.records.files import load_records
from mtbench.storage.lease import holder_lives
from mtbench.storage.places import default_root, expanded
from mtbench.storage.store import Store


def clean(
    runs: list[str],
    results: str,
    store: str | None,
    stage: str | None,
    everything: bool,
    leftovers: bool,
    dry_run: bool,
) -> dict[str, Any]:
    """What was (or would be) freed: ``stages``, ``bytes``, and how many were ``kept`` because others use them.

    UsageError if nothing is named, UnknownNameError for a run id without a record.
    """
    if not (runs or everything or leftovers):
        raise UsageError("name run ids (mtbench ls runs), or --leftovers, or --all")
    if bool(runs) + everything + leftovers > 1:
        raise UsageError("run ids, --leftovers and --all exclude each other")
    if stage is not None and stage not in STAGES:
        raise UsageError(f"--stage {stage!r}: no such stage. Stages: {', '.join(STAGES)}")
    target = Store(expanded(store) if store else default_root())
    if leftovers:
        return _leftovers(target, dry_run)
    busy = [lease.stem for lease in _leases(target) if holder_lives(lease)]
    if busy and not dry_run:
        raise UsageError(
            f"a run is computing in the store {target.root} ({busy[0]}), and may need what would be deleted\n"
            "  Wait for it or interrupt it (it goes on later), then clean; --leftovers and --dry-run work meanwhile."
        )
    chosen, kept = _all_stages(target), 0
    if not everything:
        chosen, kept = _stages_of(runs, results)
    freed: dict[str, Any] = {"stages": [], "bytes": 0, "kept": kept}
    for name, key in sorted(chosen):
        if (stage is None or name == stage) and target.folder(name, key).is_dir():
            freed["stages"].append(f"{name}/{key}")
            freed["bytes"] += _size(target.folder(name, key))
            if not dry_run:
                target.remove(name, key)
                _check_gone(target.folder(name, key))
    return freed


def _check_gone(folder: Path) -> None:
    if folder.exists():
        raise StoreError(f"{folder} cannot be deleted: look at its permissions; nothing after it was touched")


def _leases(store: Store) -> list[Path]:
    return sorted(f for f in (store.root / "leases").glob("*.json") if not f.name.startswith("."))


def _stages_of(runs: list[str], results: str) -> tuple[set[tuple[str, str]], int]:
    records = {r.record["run_id"]: r.record for r in load_records(Path(results)) if r.usable}
    for run in runs:
        if run not in records:
            raise UnknownNameError("run", run, records, f"mtbench ls runs --results {results}")
    used: dict[tuple[str, str], set[str]] = {}
    for identifier, record in records.items():
        for item in record.get("stages", []):
            used.setdefault((item["name"], item["fingerprint"]), set()).add(identifier)
    wanted = {place for place, users in used.items() if users & set(runs)}
    free = {place for place in wanted if used[place] <= set(runs)}
    return free, len(wanted) - len(free)


def _all_stages(store: Store) -> set[tuple[str, str]]:
    return {(f.parent.name, f.name) for f in (store.root / "stages").glob("*/*") if f.is_dir()}


def _leftovers(store: Store, dry_run: bool) -> dict[str, Any]:
    held = {lease.stem for lease in _leases(store) if holder_lives(lease)}
    found = [f for kind in ("work", "damaged") for f in (store.root / kind).glob("*") if f.name not in held]
    freed = {"stages": [f"{f.parent.name}/{f.name}" for f in found], "bytes": sum(map(_size, found)), "kept": len(held)}
    if not dry_run:
        for folder in found:
            shutil.rmtree(folder, ignore_errors=True)
            _check_gone(folder)
        for lease in _leases(store):
            if lease.stem not in held:
                lease.unlink(missing_ok=True)
    return freed


def _size(folder: Path) -> int:
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
