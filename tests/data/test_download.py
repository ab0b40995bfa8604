"""Downloads against a local server that breaks off, forgets ranges, changes the file or refuses."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mtbench.data.download import fetch, remote_size, source_url
from mtbench.errors import DataError, StoreError
from mtbench.suite import Download

CONTENT = bytes(i * i % 251 for i in range(300_000))


class Server:
    """What the handler needs to know, and what it saw."""

    def __init__(self) -> None:
        self.content, self.etag = CONTENT, '"v1"'
        self.ranges = True
        self.break_after: list[int] = []
        """Bytes of each coming response before the connection breaks; then whole responses."""
        self.status: int | None = None
        self.requests: list[str | None] = []
        self.authorization: list[str | None] = []
        """Of each request."""
        self.redirect: str | None = None
        """Where everything but ``/file.bin`` is sent to."""
        self.url = ""


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(state.content)))
            self.end_headers()

        def do_GET(self) -> None:
            state.authorization.append(self.headers.get("Authorization"))
            if state.redirect and self.path != "/file.bin":
                self.send_response(302)
                self.send_header("Location", state.redirect)
                self.end_headers()
                return
            wanted = self.headers.get("Range")
            state.requests.append(wanted)
            if state.status is not None:
                self.send_error(state.status)
                return
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and state.ranges else 0
            if self.headers.get("If-Range") not in (None, state.etag):
                start = 0
            if start >= len(state.content):
                self.send_error(416)
                return
            body = state.content[start:]
            self.send_response(206 if start else 200)
            self.send_header("ETag", state.etag)
            self.send_header("Content-Length", str(len(body)))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(state.content) - 1}/{len(state.content)}")
            self.end_headers()
            self.wfile.write(body[: state.break_after.pop(0)] if state.break_after else body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{running.server_port}/file.bin"
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield state
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def wanted(server: Server) -> Download:
    return Download("sub/file.bin", (server.url,), len(CONTENT), hashlib.md5(CONTENT).hexdigest())


def test_a_file_is_fetched_once(server: Server, wanted: Download, tmp_path: Path) -> None:
    told: list[tuple[str, int, int | None]] = []
    path = fetch(wanted, tmp_path, lambda *what: told.append(what))
    assert path.read_bytes() == CONTENT and told[-1] == ("sub/file.bin", len(CONTENT), len(CONTENT))
    assert [p.name for p in path.parent.iterdir()] == ["file.bin"]
    fetch(wanted, tmp_path)
    assert server.requests == [None]


def test_broken_connections_are_resumed(server: Server, wanted: Download, tmp_path: Path) -> None:
    server.break_after = [100_000, 50_000, 1]
    assert fetch(wanted, tmp_path, pause=0).read_bytes() == CONTENT
    assert server.requests == [None, "bytes=100000-", "bytes=150000-", "bytes=150001-"]


def test_a_killed_download_goes_on(server: Server, wanted: Download, tmp_path: Path) -> None:
    def kill(name: str, done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    server.break_after = [200_000]
    with pytest.raises(KeyboardInterrupt):
        fetch(wanted, tmp_path, kill)
    assert not (tmp_path / "sub" / "file.bin").exists()
    assert fetch(wanted, tmp_path).read_bytes() == CONTENT
    assert server.requests[1] is not None and server.requests[1].startswith("bytes=")


def test_a_server_without_ranges(server: Server, wanted: Download, tmp_path: Path) -> None:
    server.ranges, server.break_after = False, [100_000]
    assert fetch(wanted, tmp_path, pause=0).read_bytes() == CONTENT


def test_two_versions_are_never_mixed(server: Server, tmp_path: Path) -> None:
    server.break_after = [100_000] + [0] * 9
    unchecked = Download("file.bin", (server.url,))
    with pytest.raises(DataError, match="could not be fetched"):
        fetch(unchecked, tmp_path, pause=0)
    server.content, server.etag, server.break_after = CONTENT[::-1], '"v2"', []
    assert fetch(unchecked, tmp_path).read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: setattr(s, "content", CONTENT[:-1] + b"x"), "wrong checksum: md5 .* published"),
        (lambda s: setattr(s, "content", CONTENT + b"x"), "is 300,001 bytes long; the published file has 300,000"),
    ],
)
def test_a_wrong_file_is_not_kept(
    server: Server, wanted: Download, tmp_path: Path, change: Callable[[Server], None], message: str
) -> None:
    change(server)
    with pytest.raises(DataError, match=message) as caught:
        fetch(wanted, tmp_path)
    assert caught.value.path == tmp_path / "sub" / "file.bin"
    assert not list((tmp_path / "sub").glob("file.bin*[!n]")) and not (tmp_path / "sub" / "file.bin").exists()
    server.content = CONTENT
    assert fetch(wanted, tmp_path).read_bytes() == CONTENT


def test_a_file_that_is_there_is_checked(wanted: Download, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "file.bin").write_bytes(b"short")
    with pytest.raises(DataError, match="5 bytes long"):
        fetch(wanted, tmp_path)


def test_mirrors_in_order(server: Server, wanted: Download, tmp_path: Path) -> None:
    dead = "http://127.0.0.1:9/file.bin"
    mirrored = Download(wanted.path, (dead, server.url), wanted.size, wanted.md5)
    assert fetch(mirrored, tmp_path, pause=0).read_bytes() == CONTENT


def test_what_no_source_gives_is_said_for_each(server: Server, wanted: Download, tmp_path: Path) -> None:
    server.status = 404
    with pytest.raises(DataError, match=r"HTTP 404") as caught:
        fetch(Download("f", ("http://127.0.0.1:9/f", server.url)), tmp_path, pause=0)
    assert "refused" in str(caught.value) and "--raw" in str(caught.value) and len(server.requests) == 1


def test_a_busy_server_is_asked_again(server: Server, wanted: Download, tmp_path: Path) -> None:
    server.status = 503
    with pytest.raises(DataError, match="HTTP 503"):
        fetch(wanted, tmp_path, pause=0)
    assert len(server.requests) == 5


def test_a_full_disk(wanted: Download, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "file.bin.part").symlink_to("/dev/full")
    with pytest.raises(StoreError, match="the disk is full"):
        fetch(wanted, tmp_path)


def test_what_only_a_person_can_fetch(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"must be fetched by hand\n  Ask the author"):
        fetch(Download("f", (), manual="Ask the author."), tmp_path)


def test_hub_names(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (
        source_url("hf://datasets/BeIR/fever/a/b.gz")
        == "https://huggingface.co/datasets/BeIR/fever/resolve/main/a/b.gz"
    )
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example/")
    assert source_url("hf://models/o/n/f.json") == "https://mirror.example/o/n/resolve/main/f.json"
    assert source_url("https://a/b") == "https://a/b"


@pytest.fixture
def on_hub(server: Server, monkeypatch: pytest.MonkeyPatch) -> Download:
    """A file on a hub that redirects to another address, for a user who has logged in."""
    server.redirect = server.url
    monkeypatch.setenv("HF_ENDPOINT", server.url.removesuffix("/file.bin"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    return Download("file.bin", ("hf://datasets/o/n/file.bin",), sha256=hashlib.sha256(CONTENT).hexdigest())


def test_the_token_goes_to_the_hub_and_no_further(server: Server, on_hub: Download, tmp_path: Path) -> None:
    assert fetch(on_hub, tmp_path).read_bytes() == CONTENT
    assert server.authorization == ["Bearer hf_secret", None]


def test_a_file_of_the_hub_goes_on_where_it_stopped(server: Server, on_hub: Download, tmp_path: Path) -> None:
    server.break_after = [100_000]
    assert fetch(on_hub, tmp_path, pause=0.01).read_bytes() == CONTENT
    assert server.requests == [None, "bytes=100000-"]


def test_a_hub_that_refuses_names_the_remedy(server: Server, on_hub: Download, tmp_path: Path) -> None:
    server.status = 401
    with pytest.raises(DataError, match=r"HTTP 401 .*; accept the terms on its page and log in: hf auth login"):
        fetch(on_hub, tmp_path)


def test_a_hub_that_is_switched_off_is_not_asked(
    server: Server, on_hub: Download, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert remote_size(on_hub) is None
    with pytest.raises(DataError, match="HF_HUB_OFFLINE is set"):
        fetch(on_hub, tmp_path)
    assert not server.authorization


def test_sizes_before_the_start(server: Server) -> None:
    assert remote_size(Download("f", (server.url,))) == len(CONTENT)
    assert remote_size(Download("f", (server.url,), size=5)) == 5
    assert remote_size(Download("f", ("http://127.0.0.1:9/f",))) is None
