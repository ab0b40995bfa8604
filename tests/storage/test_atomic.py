"""Files and folders that are whole or as before."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mtbench.errors import StoreError
from mtbench.storage.atomic import move_folder, read_json, replacing, write_json, write_text


def test_json_is_replaced_as_a_whole(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": "é"})
    assert (tmp_path / "a.json").read_bytes() == '{\n "b": 1,\n "a": "é"\n}'.encode()
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"a": object()})
    assert read_json(tmp_path / "a.json") == {"b": 1, "a": "é"}
    (tmp_path / "a.json").write_text('{"a": ')
    with pytest.raises(StoreError, match=r"a\.json: not readable"):
        read_json(tmp_path / "a.json")


def test_text_keeps_its_line_ends(tmp_path: Path) -> None:
    write_text(tmp_path / "a.md", "one\r\ntwo\nthree")
    assert (tmp_path / "a.md").read_bytes() == b"one\r\ntwo\nthree"


def test_a_writer_that_fails_changes_nothing_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_text(tmp_path / "a", "old")
    with pytest.raises(RuntimeError), replacing(tmp_path / "a") as beside:
        beside.write_text("half")
        raise RuntimeError("died")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(OSError, match="No space"):
            write_text(tmp_path / "a", "new")
    assert [f.name for f in tmp_path.iterdir()] == ["a"] and (tmp_path / "a").read_text() == "old"


def test_a_reader_beside_writers_sees_whole_texts_only(tmp_path: Path) -> None:
    """Two writers of one file in one process do not share their places beside it."""
    with replacing(tmp_path / "a", "one") as first, replacing(tmp_path / "a", "two") as second:
        first.write_text("first")
        second.write_text("second")
    assert (tmp_path / "a").read_text() == "first", "the last that was ready"
    assert [f.name for f in tmp_path.iterdir()] == ["a"]


def test_of_two_folders_the_first_stays(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "target"
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
        move_folder(tmp_path / name, target, stands=lambda: (target / "file").is_file())
        assert not (tmp_path / name).exists()
    assert (target / "file").read_text() == "one"


def test_a_target_that_is_in_the_way_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "other").write_text("")
    (tmp_path / "mine").mkdir()
    with pytest.raises(OSError, match="not empty"):
        move_folder(tmp_path / "mine", tmp_path / "target", stands=lambda: False)
    assert (tmp_path / "mine").is_dir()
