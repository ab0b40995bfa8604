"""The store: whole or absent, checked before use, computed once, and clear about a full disk."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mtbench.errors import StoreError
from mtbench.storage import manifest
from mtbench.storage.store import Store, fingerprint

NAME, KEY = "encode", fingerprint({"stage": "encode"})


def write(work: Path) -> dict[str, Any]:
    (work / "vectors").mkdir(exist_ok=True)
    (work / "vectors" / "shard-0.npy").write_bytes(bytes(range(256)) * 4)
    (work / "index.json").write_text("{}")
    return {"summary": {"n": 4}}


def refuse(work: Path) -> None:
    raise AssertionError("computed again")


def build(store: Store, compute: Any = write) -> Any:
    return store.build(NAME, KEY, {"stage": "encode"}, compute)


def test_a_finished_stage_is_found_and_not_computed_again(tmp_path: Path) -> None:
    built = build(Store(tmp_path))
    assert not built.reused and built.results["summary"] == {"n": 4}
    again = build(Store(tmp_path), refuse)
    assert again.reused and again.folder == built.folder and again.seconds == built.seconds
    assert sorted(again.manifest.files) == ["index.json", "vectors/shard-0.npy"]
    assert list((tmp_path / "work").iterdir()) == [] and list((tmp_path / "leases").iterdir()) == []


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "manifest"])
def test_damage_is_noticed_before_use_and_rebuilt(tmp_path: Path, damage: str) -> None:
    built = build(Store(tmp_path))
    file = built.folder / "vectors" / "shard-0.npy"
    whole = file.read_bytes()
    if damage == "flip":
        file.write_bytes(whole[:500] + bytes([whole[500] ^ 1]) + whole[501:])
    elif damage == "cut":
        file.write_bytes(whole[:-1])
    elif damage == "remove":
        file.unlink()
    else:
        (built.folder / "manifest.json").write_text("{half")
    calls: list[Path] = []
    again = build(Store(tmp_path), lambda work: (calls.append(work), write(work))[1])
    assert len(calls) == 1 and not again.reused
    assert file.read_bytes() == whole
    assert len(list((tmp_path / "damaged").iterdir())) == 1


def test_what_raises_leaves_no_stage_and_keeps_its_checkpoint(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def half(work: Path) -> None:
        (work / "checkpoint").write_text("step 3")
        raise RuntimeError("the worker died")

    with pytest.raises(RuntimeError, match="worker died"):
        build(store, half)
    assert not store.has(NAME, KEY) and store.open(NAME, KEY) is None
    assert list((tmp_path / "leases").iterdir()) == []

    def goes_on(work: Path) -> dict[str, Any]:
        assert (work / "checkpoint").read_text() == "step 3"
        (work / "checkpoint").unlink()
        return write(work)

    assert not build(store, goes_on).reused
    assert store.has(NAME, KEY)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_while_computing_is_said_and_leaves_no_half_stage(tmp_path: Path, code: int) -> None:
    store = Store(tmp_path)

    def full(work: Path) -> None:
        (work / "shard").write_bytes(b"half")
        raise OSError(code, os.strerror(code))

    with pytest.raises(StoreError, match="is full") as caught:
        build(store, full)
    assert str(tmp_path) in str(caught.value) and "--store" in str(caught.value)
    assert not store.folder(NAME, KEY).exists()
    assert not build(store).reused


def test_a_disk_that_fills_at_the_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last byte that is written: all files stand, the manifest does not."""
    store, real = Store(tmp_path), manifest.write_json

    def full(path: Path, value: Any) -> None:
        if path.name == "manifest.json":
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, value)

    with monkeypatch.context() as patch:
        patch.setattr(manifest, "write_json", full)
        with pytest.raises(StoreError, match="is full"):
            build(store)
    assert not store.folder(NAME, KEY).exists()
    assert not build(store).reused


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    """/dev/full answers every write as a full disk does."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")

    def full(work: Path) -> None:
        with open("/dev/full", "wb", buffering=0) as device:
            device.write(b"vectors")

    store = Store(tmp_path)
    with pytest.raises(StoreError, match="is full"):
        build(store, full)
    assert not store.has(NAME, KEY)


def test_no_permission_is_said(tmp_path: Path) -> None:
    def forbidden(work: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with pytest.raises(StoreError, match="cannot be written"):
        build(Store(tmp_path), forbidden)


PROCESS = """
import os, pathlib, sys, time
from mtbench.storage.store import Store
root = pathlib.Path(sys.argv[1])
def compute(work):
    with open(root / "calls", "a") as log:
        log.write(f"{os.getpid()}\\n")
    time.sleep(0.3)
    (work / "out").write_text("42")
for number in range(3):
    built = Store(root).build("encode", f"{number:016x}", {}, compute)
    assert (built.folder / "out").read_text() == "42"
"""


def test_several_processes_compute_each_stage_once(tmp_path: Path) -> None:
    children = [subprocess.Popen([sys.executable, "-c", PROCESS, str(tmp_path)]) for _ in range(4)]
    assert [child.wait() for child in children] == [0, 0, 0, 0]
    assert len((tmp_path / "calls").read_text().split()) == 3
    assert list((tmp_path / "work").iterdir()) == [] and list((tmp_path / "leases").iterdir()) == []


KILLED = """
import os, pathlib, sys
from mtbench.storage import manifest, store as module
root, where = pathlib.Path(sys.argv[1]), sys.argv[2]
def die(*a, **k): os.kill(os.getpid(), 9)
def compute(work):
    (work / "out").write_text("42")
    if where == "compute": die()
if where == "manifest": manifest.write_json = die
if where == "rename":
    real = os.replace
    os.replace = lambda a, b: die() if pathlib.Path(a).is_dir() else real(a, b)
if where == "after":
    module.sync_folder = die
module.Store(root).build("encode", "0" * 16, {}, compute)
"""


@pytest.mark.parametrize("where", ["compute", "manifest", "rename", "after"])
def test_a_kill_at_any_moment_loses_nothing(tmp_path: Path, where: str) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), where], check=False)
    assert done.returncode == -9
    store = Store(tmp_path)
    assert store.has(NAME, "0" * 16) == (where == "after")
    built = store.build(NAME, "0" * 16, {}, lambda work: (work / "out").write_text("42") and None)
    assert (built.folder / "out").read_text() == "42"
    assert built.reused == (where == "after")


def test_fingerprints_depend_on_content_alone() -> None:
    assert fingerprint({"a": 1, "b": [2, None]}) == fingerprint({"b": [2, None], "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
    assert len(fingerprint({})) == 16


def test_time_spent_before_an_interruption_counts(tmp_path: Path) -> None:
    store = Store(tmp_path)
    work = store.work_folder(NAME, KEY)
    work.mkdir(parents=True)
    (work / "seconds.json").write_text(json.dumps({"seconds": 100.0}))
    built = build(store)
    assert built.seconds >= 100 and "seconds.json" not in built.manifest.files
