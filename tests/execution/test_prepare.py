"""``mtbench prepare``: from nothing to the prepared form, and the plan before it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from watching import files_named

from mtbench.cli.main import main
from mtbench.data.loading import load_suite

TOML = """\
name = "little"
version = 3
metric = "recall@20"
[corpus.docs]
path = "corpus.jsonl"
[[task]]
name = "one"
corpus = "docs"
queries = "queries.jsonl"
train_qrels = "train.tsv"
dev_qrels = "dev.tsv"
"""


def write_suite(folder: Path, passages: int) -> Path:
    folder.mkdir()
    (folder / "suite.toml").write_text(TOML)
    with (folder / "corpus.jsonl").open("w") as stream:
        for i in range(passages):
            stream.write(json.dumps({"_id": str(i), "title": f"t{i % 7}", "text": f"words of number {i} " * 20}) + "\n")
    (folder / "queries.jsonl").write_text('{"_id": "a", "text": "words"}\n{"_id": "b", "text": "number"}\n')
    (folder / "train.tsv").write_text("query-id\tcorpus-id\tscore\na\t1\t1\n")
    (folder / "dev.tsv").write_text("query-id\tcorpus-id\tscore\nb\t2\t1\n")
    return folder


def test_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_suite(tmp_path / "little", 30)
    arguments = ["prepare", str(folder), "--store", str(tmp_path / "store"), "--workers", "1", "--json"]
    assert main(arguments) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["suite"] == "little@3" and first["reused"] is False
    assert first["corpora"]["docs"]["passages"] == 30 and first["tasks"] == {"one": {"train": 1, "dev": 1}}
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out)["reused"] is True


def test_broken_data_end_with_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_suite(tmp_path / "little", 3)
    (folder / "dev.tsv").write_text("query-id\tcorpus-id\tscore\nb\t99\t1\n")
    assert main(["prepare", str(folder), "--store", str(tmp_path / "store")]) == 2
    message = capsys.readouterr().err
    assert f"{folder}/dev.tsv:2: passage '99' is not in corpus 'docs'" in message and "Traceback" not in message


def test_the_plan_of_official_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = load_suite("kilt", "mini", home=tmp_path / "home").root
    (root / "psgs_w100.tsv").unlink()
    arguments = ["prepare", "kilt", "--profile", "paper", "--raw", str(root), "--store", str(tmp_path / "store")]
    assert main([*arguments, "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    states = {file["path"]: file["state"] for file in plan["files"]}
    assert states["psgs_w100.tsv.gz"] == "missing" and states["triviaqa-rc.tar.gz"] == "there"
    tests = {path for path, state in states.items() if state == "optional"}
    assert len(tests) == 8 and all("test" in path and "without_answers" in path for path in tests)
    assert {*states.values()} == {"missing", "there", "optional"} and len(states) == 34 and plan["bytes_to_fetch"] == 0
    assert main([*arguments, "--dry-run"]) == 0
    assert "kilt: 1 file must be put into" in capsys.readouterr().out
    assert main(arguments) == 2
    assert "psgs_w100.tsv.gz: not found" in capsys.readouterr().err
    assert main([*arguments[:5], str(root / "absent"), "--dry-run"]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_a_plan_of_a_folder_is_short(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_suite(tmp_path / "little", 3)
    assert main(["prepare", str(folder), "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["files"] == []


@pytest.mark.slow
def test_a_killed_process_goes_on(tmp_path: Path) -> None:
    """SIGKILL in the middle of a corpus of several shards; the next call ends with the same bytes."""
    folder = write_suite(tmp_path / "little", 15_000)
    script = (
        "import sys; from mtbench.data import corpus_build as c; c.CorpusBuild.shard_size = 500\n"
        "from mtbench.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )

    def start(store: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", script, "prepare", str(folder), "--store", str(store), "--workers", "1"]
        return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, start_new_session=True)

    killed = start(tmp_path / "a")
    while not (states := files_named(tmp_path / "a", "state.json")) and killed.poll() is None:
        time.sleep(0.02)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    assert states and not list((tmp_path / "a").rglob("prepared.json"))
    for lease in (tmp_path / "a").rglob("leases/*.json"):  # its holder is dead; do not wait for it to be noticed
        lease.unlink()
    done = json.loads(states[0].read_text())["passages"] if states[0].exists() else []
    assert 0 < len(done) < 30
    assert start(tmp_path / "a").wait() == start(tmp_path / "b").wait() == 0
    files = [
        {p.relative_to(s / "data"): p.read_bytes() for p in (s / "data").rglob("*") if p.is_file()}
        for store in ("a", "b")
        for s in (tmp_path / store / "stages" / "prepare").iterdir()
    ]
    assert files[0] == files[1] and len(files[0]) > 20
    shutil.rmtree(tmp_path / "a")
