"""Deleting stored stages that records no longer need, and records of runs that failed."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from mtbench.errors import StoreError, UnknownNameError, UsageError
from mtbench.pipeline.freeing import free_vectors
from mtbench.pipeline.plan import STAGES
from mtbench.records.files import load_records
from mtbench.storage.lease import holder_lives
from mtbench.storage.places import default_root, expanded
from mtbench.storage.store import Store


@dataclass(frozen=True)
class CleanRequest:
    """Which stages to free: those of ``runs`` that no other record uses, all, or only leftovers; of one ``stage``.

    UsageError if nothing is named, or what excludes each other.
    """

    runs: Sequence[str] = ()
    stage: str | None = None
    everything: bool = False
    leftovers: bool = False

    def __post_init__(self) -> None:
        if not (self.runs or self.everything or self.leftovers):
            raise UsageError("name run ids (mtbench ls runs), or --leftovers, or --all")
        if bool(self.runs) + self.everything + self.leftovers > 1:
            raise UsageError("run ids, --leftovers and --all exclude each other")
        if self.stage is not None and self.stage not in STAGES:
            raise UsageError(f"--stage {self.stage!r}: no such stage. Stages: {', '.join(STAGES)}")


class Freed(TypedDict):
    """Stages that were (or would be) freed, their bytes, and how many were kept because others use them."""

    stages: list[str]
    bytes: int
    kept: int


def clean(request: CleanRequest, results: Path, store: str | None, dry_run: bool) -> Freed:
    """Free what is asked for. UnknownNameError for a run id without a record; UsageError while a run computes."""
    target = Store(expanded(store) if store else default_root())
    if request.leftovers:
        return _leftovers(target, dry_run)
    busy = [lease.stem for lease in _leases(target) if holder_lives(lease)]
    if busy and not dry_run:
        raise UsageError(
            f"a run is computing in the store {target.root} ({busy[0]}), and may need what would be deleted\n"
            "  Wait for it or interrupt it (it goes on later), then clean; --leftovers and --dry-run work meanwhile."
        )
    chosen, kept = _all_stages(target), 0
    if not request.everything:
        chosen, kept = _stages_of(request.runs, results)
    freed: Freed = {"stages": [], "bytes": 0, "kept": kept}
    for name, key in sorted(chosen):
        alone = request.stage is not None  # the rest of the run stays, and with it what is known of its vectors
        if request.stage in (None, name) and _is_there(target, name, key, alone):
            freed["stages"].append(f"{name}/{key}")
            freed["bytes"] += _size(target.folder(name, key))
            if not dry_run:
                if name == "encode" and alone:
                    free_vectors(target, key)
                else:
                    target.remove(name, key)
                    _check_gone(target.folder(name, key))
    return freed


def clean_records(status: str, results: Path, dry_run: bool) -> list[str]:
    """Delete the records of failed runs; their ids. UsageError for another status: those records say something."""
    if status != "failed":
        raise UsageError(f"--records {status}: only the records of failed runs are deleted: --records failed")
    gone = [item for item in load_records(results, summary=True) if item.usable and item.record["status"] == status]
    for item in gone if not dry_run else ():
        item.path.unlink(missing_ok=True)
    return [item.record["run_id"] for item in gone]


def _is_there(store: Store, name: str, key: str, alone: bool) -> bool:
    """Whether there is something to free; of vectors that were freed, what is known goes with the whole run."""
    return store.folder(name, key).is_dir() and not (alone and store.freed(name, key) is not None)


def _check_gone(folder: Path) -> None:
    if folder.exists():
        raise StoreError(f"{folder} cannot be deleted: look at its permissions; nothing after it was touched")


def _leases(store: Store) -> list[Path]:
    return sorted(f for f in (store.root / "leases").glob("*.json") if not f.name.startswith("."))


def _stages_of(runs: Sequence[str], results: Path) -> tuple[set[tuple[str, str]], int]:
    records = {r.record["run_id"]: r.record for r in load_records(results) if r.usable}
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


def _leftovers(store: Store, dry_run: bool) -> Freed:
    held = {lease.stem for lease in _leases(store) if holder_lives(lease)}
    found = [f for kind in ("work", "damaged") for f in (store.root / kind).glob("*") if f.name not in held]
    freed: Freed = {
        "stages": [f"{f.parent.name}/{f.name}" for f in found],
        "bytes": sum(map(_size, found)),
        "kept": len(held),
    }
    if not dry_run:
        for folder in found:
            shutil.rmtree(folder, ignore_errors=True)
            _check_gone(folder)
        for lease in _leases(store):
            if lease.stem not in held:
                lease.unlink(missing_ok=True)
    return freed


def _size(folder: Path) -> int:
    """Bytes of the files below ``folder``; what another process removes meanwhile counts nothing."""
    total = 0
    for place, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(FileNotFoundError):
                total += os.lstat(os.path.join(place, name)).st_size
    return total
