"""Official files brought together: plan, archives, --raw, the note for ``run``."""

from __future__ import annotations

import functools
import http.server
import shutil
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
from small_suites import write_jsonl

from mtbench.data.archives import missing_members, unpack
from mtbench.data.loading import SOURCE, load_suite, prepared_raw, raw_folder
from mtbench.data.obtain import PlannedFile, check_disk, obtain_raw, plan_files
from mtbench.errors import DataError, StoreError
from mtbench.registry import get_suite
from mtbench.suite import Corpus, Download, Suite, SuiteDefinition, Task


class Packed(SuiteDefinition):
    """A suite whose files come in one archive and one plain file."""

    name = "packed"
    summary = "test"
    downloads: ClassVar[tuple[Download, ...]] = (
        Download(
            "all.tar.gz", ("http://127.0.0.1:9/all.tar.gz",), unpack=True, members=("corpus.jsonl", "qrels/train.tsv")
        ),
        Download("queries.jsonl", ("http://127.0.0.1:9/queries.jsonl",)),
        Download("huge.json", ("http://127.0.0.1:9/huge.json",), size=10**18, optional=True),
    )

    def suite(self, root: Path, profile: str) -> Suite:
        task = Task("t", "c", "queries.jsonl", "qrels/train.tsv", "qrels/train.tsv")
        return Suite("packed", 1, "recall@100", (Corpus("c", "corpus.jsonl"),), (task,), root)


@pytest.fixture
def raw(small_suite: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "raw files"
    folder.mkdir()
    with tarfile.open(folder / "all.tar.gz", "w:gz") as tar:
        tar.add(small_suite, "./")
    shutil.copy(small_suite / "queries.jsonl", folder)
    return folder


def test_the_plan(raw: Path) -> None:
    assert [item.state for item in plan_files(Packed, raw)] == ["unpack", "there", "optional"]
    (raw / "queries.jsonl").unlink()
    (raw / "queries.jsonl.part").write_bytes(b"abc")
    item = plan_files(Packed, raw)[1]
    assert (item.state, item.have) == ("partial", 3)
    assert [item.state for item in plan_files(Packed, raw / "absent")] == ["fetch", "fetch", "optional"]


def test_raw_files_are_unpacked_checked_and_noted(raw: Path, tmp_path: Path) -> None:
    suite = obtain_raw(Packed, "paper", raw, tmp_path / "home")
    assert suite.root == raw and (raw / "corpus.jsonl").is_file() and not (raw / "suite.toml").exists()
    assert prepared_raw(Packed, "paper", tmp_path / "home") == raw
    assert plan_files(Packed, raw)[0].state == "there"
    (raw / "all.tar.gz").unlink()  # what it held is there
    assert obtain_raw(Packed, "paper", raw, tmp_path / "home") == suite


def test_with_raw_nothing_is_fetched(raw: Path, tmp_path: Path) -> None:
    (raw / "queries.jsonl").unlink()
    with pytest.raises(DataError, match=r"queries\.jsonl: not found\n  Put the file there, or leave --raw out"):
        obtain_raw(Packed, "paper", raw, tmp_path / "home")
    assert not (raw_folder(Packed, "paper", tmp_path / "home") / SOURCE).exists()


@pytest.fixture
def hub(small_suite: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server that has the suite's files one by one."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(small_suite))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_members_come_one_by_one_where_the_archive_is_gone(
    raw: Path, hub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, queries, _ = Packed.downloads
    pieces = tuple(Download(member, (f"{hub}/{member}",)) for member in archive.members)
    home = tmp_path / "home"
    folder = raw_folder(Packed, "paper", home)
    folder.mkdir(parents=True)
    shutil.copy(raw / "queries.jsonl", folder)
    with pytest.raises(DataError, match=r"all\.tar\.gz: could not be fetched"):
        obtain_raw(Packed, "paper", None, home)
    monkeypatch.setattr(Packed, "downloads", (replace(archive, instead=pieces), queries))
    suite = obtain_raw(Packed, "paper", None, home)
    assert not missing_members(archive, suite.root) and [i.state for i in plan_files(Packed, folder)] == ["there"] * 2
    (folder / "corpus.jsonl").unlink()
    gone = (Download("corpus.jsonl", (f"{hub}/absent",)),)
    monkeypatch.setattr(Packed, "downloads", (replace(archive, instead=gone), queries))
    with pytest.raises(DataError, match=r"(?s)corpus\.jsonl: could not be fetched.*404"):
        obtain_raw(Packed, "paper", None, home)


def test_the_disk_is_checked_first(tmp_path: Path) -> None:
    big = Download("big", ("http://127.0.0.1:9/big",), size=10**18)
    with pytest.raises(StoreError, match=r"1000000000\.0 GB are needed"):
        check_disk([PlannedFile(big, "fetch", big.size)], tmp_path / "absent" / "folder")
    check_disk([PlannedFile(big, "there", big.size), PlannedFile(big, "fetch", None)], tmp_path)


def test_what_must_be_fetched_by_hand_is_said_before_any_download(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="must be fetched by hand") as caught:
        obtain_raw(get_suite("mixed"), "paper", None, tmp_path)
    assert "lajanugen/zeshel" in str(caught.value)


def test_generated_files_pass_for_official_ones(tmp_path: Path) -> None:
    """The official file names are those of the generator: a raw folder of them is a whole KILT."""
    root = load_suite("kilt", "mini", home=tmp_path / "home").root
    suite = obtain_raw(get_suite("kilt"), "paper", root, tmp_path / "home")
    assert load_suite("kilt", "paper", home=tmp_path / "home") == suite


class TestArchives:
    def test_zip_members_and_folders(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
            packed.writestr("d/x.txt", "x")
            packed.writestr("d/y.txt", "y")
            packed.writestr("../evil.txt", "z")
        download = Download("a.zip", (), unpack=True, unpack_into="into", members=("d/x.txt",))
        assert missing_members(download, tmp_path) == ["d/x.txt"]
        assert unpack(download, tmp_path) == [tmp_path / "into" / "d" / "x.txt"] and unpack(download, tmp_path) == []
        unpack(Download("a.zip", (), unpack=True), tmp_path)
        assert (tmp_path / "d" / "y.txt").read_text() == "y" and not (tmp_path.parent / "evil.txt").exists()

    def test_a_member_that_is_not_there(self, raw: Path) -> None:
        with pytest.raises(DataError, match="no member 'absent'"):
            unpack(Download("all.tar.gz", (), unpack=True, members=("absent",)), raw)

    @pytest.mark.parametrize("keep", [0.0, 0.5, 0.97])
    def test_a_truncated_archive_leaves_no_half_member(self, tmp_path: Path, keep: float) -> None:
        import random

        rng = random.Random(0)
        lines = [{"_id": str(rng.random()), "text": str(rng.random())} for _ in range(3000)]
        write_jsonl(tmp_path / "in" / "corpus.jsonl", lines)
        with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
            tar.add(tmp_path / "in" / "corpus.jsonl", "corpus.jsonl")
        data = (tmp_path / "a.tar.gz").read_bytes()
        (tmp_path / "a.tar.gz").write_bytes(data[: int(len(data) * keep)])
        with pytest.raises(DataError, match="a damaged archive"):
            unpack(Download("a.tar.gz", (), unpack=True, members=("corpus.jsonl",)), tmp_path)
        assert not (tmp_path / "corpus.jsonl").exists()
