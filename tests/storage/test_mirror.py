"""Finished stages and records at a second address, tried with memory and with files."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest

from mtbench.errors import StoreError
from mtbench.storage.mirror import Mirror, mirror_from_environment
from mtbench.storage.store import Store

NAME, KEY = "encode", "0" * 16


@pytest.fixture(params=["memory", "file"])
def mirror(request: pytest.FixtureRequest, tmp_path: Path) -> Mirror:
    address = f"memory://{uuid.uuid4().hex}" if request.param == "memory" else f"file://{tmp_path}/mirror"
    return Mirror(address)


def write(work: Path) -> dict[str, Any]:
    (work / "vectors").mkdir(exist_ok=True)
    (work / "vectors" / "shard-0.npy").write_bytes(bytes(1000))
    return {"summary": 1}


def refuse(work: Path) -> None:
    raise AssertionError("computed again")


def test_a_stage_is_fetched_instead_of_computed(mirror: Mirror, tmp_path: Path) -> None:
    made = Store(tmp_path / "a", mirror).build(NAME, KEY, {}, write)
    other = Store(tmp_path / "b", mirror)
    fetched = other.build(NAME, KEY, {}, refuse)
    assert fetched.reused and fetched.manifest == made.manifest and fetched.seconds == made.seconds
    assert (fetched.folder / "vectors" / "shard-0.npy").read_bytes() == bytes(1000)
    assert list((tmp_path / "b" / "work").iterdir()) == []


def test_a_damaged_stage_in_the_mirror_is_computed(mirror: Mirror, tmp_path: Path) -> None:
    Store(tmp_path / "a", mirror).build(NAME, KEY, {}, write)
    place = mirror._place("stages", NAME, KEY, "vectors/shard-0.npy")
    mirror._files.pipe_file(place, b"\x01" + bytes(999))
    built = Store(tmp_path / "b", mirror).build(NAME, KEY, {}, write)
    assert not built.reused
    assert (built.folder / "vectors" / "shard-0.npy").read_bytes() == bytes(1000)


def test_a_stage_without_its_manifest_is_none(mirror: Mirror, tmp_path: Path) -> None:
    Store(tmp_path / "a", mirror).build(NAME, KEY, {}, write)
    mirror._files.rm(mirror._place("stages", NAME, KEY, "manifest.json"))
    assert not Store(tmp_path / "b", mirror).build(NAME, KEY, {}, write).reused


def test_records_go_there_and_come_back(mirror: Mirror, tmp_path: Path) -> None:
    record = Path("runs/kilt@1/mini/naive/naive-s0-1.json")
    (tmp_path / "here" / record).parent.mkdir(parents=True)
    (tmp_path / "here" / record).write_text("{}")
    mirror.fetch_results(tmp_path / "there")
    assert not (tmp_path / "there").exists()
    mirror.offer_results(tmp_path / "here")
    mirror.fetch_results(tmp_path / "there")
    assert (tmp_path / "there" / record).read_text() == "{}"
    (tmp_path / "here" / record).write_text('{"a": 1}')
    mirror.offer_results(tmp_path / "here")
    mirror.fetch_results(tmp_path / "there")
    assert (tmp_path / "there" / record).read_text() == "{}", "what is here stays"
    mirror.fetch_results(tmp_path / "new")
    assert (tmp_path / "new" / record).read_text() == '{"a": 1}'


def test_the_variable_turns_it_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert mirror_from_environment() is None
    monkeypatch.setenv("MTBENCH_MIRROR", f"file://{tmp_path}/mirror")
    Store(tmp_path / "a").build(NAME, KEY, {}, write)
    assert Store(tmp_path / "b").build(NAME, KEY, {}, refuse).reused
    monkeypatch.setenv("MTBENCH_MIRROR", "nosuch://place")
    with pytest.raises(StoreError, match="nosuch"):
        Store(tmp_path / "c")
