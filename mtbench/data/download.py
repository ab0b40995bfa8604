"""Fetching official files: resumable, checked by size and checksum, through the environment's proxy.

A file grows as ``NAME.part`` and is renamed when it is whole and checked, so a file under its own name is never half
of one. A call after an interruption goes on with HTTP Range (guarded by If-Range, so that two versions of a file are
never mixed). Sources are tried in order; ``hf://datasets/OWNER/NAME/FILE`` names a file on the Hugging Face hub. Its
address and the user's token come from ``huggingface_hub``; its own download is not used, because it begins anew after
an interruption (seen in its version 2.4).
"""

from __future__ import annotations

import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mtbench.errors import DataError
from mtbench.storage.disk import disk_errors, file_digest
from mtbench.suite import Download

HUB = "hf://"
Progress = Callable[[str, int, int | None], None]
ATTEMPTS = 5
TIMEOUT = 60.0
_CHUNK = 1 << 20
_TRANSIENT = (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError)


class NoSourceError(DataError):
    """No source of a file answered."""


def source_url(url: str) -> str:
    """The https address of a source; ``hf://`` names go to the hub (or the mirror that HF_ENDPOINT names)."""
    if not url.startswith(HUB):
        return url
    from huggingface_hub import hf_hub_url

    kind, owner, name, *file = url.removeprefix(HUB).split("/")
    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or None
    return str(hf_hub_url(f"{owner}/{name}", "/".join(file), repo_type=kind.removesuffix("s"), endpoint=endpoint))


def _open(url: str, headers: dict[str, str], method: str = "GET", timeout: float = TIMEOUT) -> Any:
    """The response of a source. The hub gets the user's token, the host that it redirects to does not."""
    request = urllib.request.Request(source_url(url), headers={"User-Agent": "mtbench", **headers}, method=method)
    if url.startswith(HUB):
        from huggingface_hub import get_token

        if token := get_token():
            request.add_unredirected_header("Authorization", f"Bearer {token}")
    return urllib.request.urlopen(request, timeout=timeout)


def _forbidden(url: str) -> bool:
    """Whether the user has switched the hub off."""
    if not url.startswith(HUB):
        return False
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def fetch(download: Download, folder: Path, progress: Progress | None = None, pause: float = 2.0) -> Path:
    """The file of ``download`` in ``folder``, fetched if it is not there.

    ``pause`` is the wait in seconds before the second attempt; it doubles with each. Raises NoSourceError if no source
    gives it, DataError if its size or checksum is wrong, or if only a person can get it; StoreError for a full disk.
    """
    path = folder / download.path
    if path.is_file():
        check_file(download, path)
        return path
    if not download.urls:
        raise DataError("must be fetched by hand", path=path, remedy=download.manual)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    reasons = []
    for url in download.urls:
        if _forbidden(url):
            reasons.append(f"{url}: HF_HUB_OFFLINE is set")
            continue
        try:
            with disk_errors(path):
                _fetch_from(url, part, download, progress, pause)
            break
        except _TRANSIENT as error:
            reasons.append(f"{url}: {_reason(error, url)}")
    else:
        raise NoSourceError(
            "could not be fetched:\n  " + "\n  ".join(reasons),
            path=path,
            remedy="Check the network or proxy (https_proxy) and run the command again: it goes on where it stopped; "
            "or fetch it elsewhere and give its folder with --raw.",
        )
    try:
        check_file(download, part, path)
    except DataError:
        part.unlink()
        raise
    os.replace(part, path)
    _state(part).unlink(missing_ok=True)
    return path


def _reason(error: Exception, url: str) -> str:
    if isinstance(error, urllib.error.HTTPError):
        login = url.startswith(HUB) and error.code in (401, 403)
        hint = "; accept the terms on its page and log in: hf auth login" if login else ""
        return f"HTTP {error.code} {error.reason}{hint}"
    return str(getattr(error, "reason", None) or error or type(error).__name__)


def _state(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _fetch_from(url: str, part: Path, download: Download, progress: Progress | None, pause: float) -> None:
    """Fetch into ``part``, going on after broken connections; an attempt that brought bytes does not count."""
    attempt = 0
    while True:
        before = part.stat().st_size if part.is_file() else 0
        try:
            _fetch_once(url, part, download, progress)
            return
        except urllib.error.HTTPError as error:
            if error.code == 416:  # nothing behind what we have: it is whole, or of another version
                if download.size is None or before == download.size:
                    return
                part.unlink(missing_ok=True)
            elif error.code < 500 and error.code not in (408, 429):
                raise
            attempt += 1
            if attempt >= ATTEMPTS:
                raise
        except _TRANSIENT:
            attempt = 0 if part.is_file() and part.stat().st_size > before else attempt + 1
            if attempt >= ATTEMPTS:
                raise
        time.sleep(pause * 2 ** min(attempt, 5) / 2)


def _fetch_once(url: str, part: Path, download: Download, progress: Progress | None) -> None:
    """One request for what is still missing; a connection that ends early raises IncompleteRead."""
    have, headers = _resume_point(url, part)
    with _open(url, headers) as response:
        resumed = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        have = have if resumed else 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else download.size
        validator = response.headers.get("ETag") or response.headers.get("Last-Modified")
        _state(part).write_text(json.dumps({"url": url, "validator": validator}), "utf-8")
        with open(part, "r+b" if resumed else "wb") as stream:
            stream.seek(have)
            while chunk := response.read(_CHUNK):
                stream.write(chunk)
                have += len(chunk)
                if progress is not None:
                    progress(download.path, have, total)
            stream.truncate()
        if total is not None and have < total:
            raise http.client.IncompleteRead(b"", total - have)


def _resume_point(url: str, part: Path) -> tuple[int, dict[str, str]]:
    headers = {"Accept-Encoding": "identity"}
    have = part.stat().st_size if part.is_file() else 0
    try:
        state = json.loads(_state(part).read_text("utf-8"))
    except (OSError, ValueError):
        state = {}
    # What came from another source, or cannot be told apart from another version, is not continued.
    if not have or state.get("url") != url:
        return 0, headers
    headers["Range"] = f"bytes={have}-"
    validator = state.get("validator")
    if validator and not validator.startswith("W/"):
        headers["If-Range"] = validator
    return have, headers


def check_file(download: Download, path: Path, name: Path | None = None) -> None:
    """Size and checksums of ``path`` against the published ones; DataError naming both figures."""
    name = name or path
    size = path.stat().st_size
    again = "Remove it and run the command again; if it happens twice, the publisher has changed the file."
    if download.size is not None and size != download.size:
        raise DataError(f"is {size:,} bytes long; the published file has {download.size:,}", path=name, remedy=again)
    for kind in ("md5", "sha256"):
        expected = getattr(download, kind)
        if expected and (found := file_digest(path, kind)) != expected:
            raise DataError(f"wrong checksum: {kind} {found}, published {expected}", path=name, remedy=again)


def remote_size(download: Download, timeout: float = 10.0) -> int | None:
    """Bytes of the file as published, else as its first source says now; None if neither is known."""
    if download.size is not None or not download.urls or _forbidden(download.urls[0]):
        return download.size
    try:
        with _open(download.urls[0], {}, "HEAD", timeout) as response:
            length = response.headers.get("Content-Length")
            return int(length) if length else None
    except _TRANSIENT:
        return None
