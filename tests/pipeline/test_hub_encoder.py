"""An encoder by its hub name: ``prepare`` fetches it, a run never does, and the record names its revision."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from tiny_bert import write_bert
from tiny_suite import SETTINGS

from mtbench.model.tokenizer import train_tokenizer

REVISION = "a" * 40


class Hub(BaseHTTPRequestHandler):
    """The few answers of a hub that fetching one model needs."""

    root: ClassVar[Path]
    asked: ClassVar[list[str]] = []

    def log_message(self, *_: Any) -> None: ...

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        names = sorted(str(f.relative_to(self.root)) for f in self.root.rglob("*") if f.is_file())
        headers = {"X-Repo-Commit": REVISION}
        if path.startswith("/api/models/me/bert/tree/"):
            tree = [{"type": "file", "path": n, "size": (self.root / n).stat().st_size, "oid": _etag(n)} for n in names]
            body = json.dumps(tree).encode()
        elif path.startswith("/api/models/me/bert"):
            body = json.dumps(
                {"id": "me/bert", "sha": REVISION, "siblings": [{"rfilename": n} for n in names]}
            ).encode()
        elif path.startswith(f"/me/bert/resolve/{REVISION}/") and (name := path.split("/", 5)[5]) in names:
            self.asked.append(name)
            body = (self.root / name).read_bytes()
            headers["ETag"] = f'"{_etag(name)}"'
        else:
            self.send_error(404)
            return
        self.send_response(200)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


def _etag(name: str) -> str:
    return hashlib.sha1(name.encode()).hexdigest()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[str]:
    Hub.root = tmp_path / "served"
    Hub.asked = []
    write_bert(Hub.root, train_tokenizer(["amber birch cedar delta ember fjord"] * 4, 64))
    (Hub.root / "pytorch_model.bin").write_bytes(b"the same again")
    (Hub.root / "onnx").mkdir()
    (Hub.root / "onnx" / "config.json").write_text("{}")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_prepare_fetches_and_a_run_does_not(hub: str, tmp_path: Path, tiny_suite: Path) -> None:
    def mtbench(*arguments: str, offline: str) -> subprocess.CompletedProcess[str]:
        places = {"HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": hub, "MTBENCH_HOME": str(tmp_path / "home")}
        switches = {"HF_HUB_OFFLINE": offline, "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1"}
        command = [sys.executable, "-m", "mtbench", *arguments, "--encoder", "me/bert", "--json"]
        environment = {**os.environ, **places, **switches}
        return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)

    settings = [item for s in SETTINGS if not s.startswith("encoder.") for item in ("--set", s)]
    run = ("run", "--optimizer", "naive", "--suite", str(tiny_suite), *settings)
    early = mtbench(*run, offline="0")
    assert early.returncode == 2 and not Hub.asked and not (tmp_path / "results").exists()
    assert f"mtbench prepare {tiny_suite} --profile mini --encoder me/bert" in early.stdout

    planned = mtbench("prepare", str(tiny_suite), "--dry-run", offline="0")
    assert json.loads(planned.stdout)["encoder"] == {"name": "me/bert", "state": "fetch"} and not Hub.asked
    wrong = mtbench("prepare", "kilt", "--profile", "paper", "--raw", str(tmp_path), offline="0")
    assert wrong.returncode == 2 and "psgs_w100.tsv.gz" in wrong.stdout and not Hub.asked
    unreachable = mtbench("prepare", str(tiny_suite), offline="1")
    assert unreachable.returncode == 2 and "could not be fetched from the hub" in unreachable.stdout

    assert mtbench("prepare", str(tiny_suite), offline="0").returncode == 0
    assert {*Hub.asked} == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}

    Hub.asked.clear()
    done = mtbench(*run, offline="0")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)["runs"][-1]
    assert record["status"] == "complete" and not Hub.asked
    assert record["spec"]["encoder"] == {"name": "me/bert", "revision": REVISION}
    assert record["spec"]["config"]["encoder"]["path"] == "me/bert" and str(tmp_path) not in done.stdout
