"""A lease on one stage: whoever holds it computes, the others wait, and a dead holder is replaced.

The lease is a file that its holder creates exclusively and rewrites every few seconds with a growing counter. A waiter
never compares clocks of two machines: it watches, on its own monotonic clock, whether the counter still moves. A
holder on the same machine whose process is gone is replaced at once, any other after :data:`STALE_AFTER` seconds.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict, cast

HEARTBEAT = 3.0
"""Seconds between two signs of life."""
STALE_AFTER = 30.0
"""Seconds without a sign of life after which a waiter takes over."""
POLL = 0.5


class Sign(TypedDict, total=False):
    """A holder's sign of life, the lease's content; empty where none can be read."""

    owner: str
    counter: int
    pid: int
    machine: str


_Seen = tuple[tuple[str | None, int | None] | None, float]
"""Owner and counter when they last moved, and when that was on this process's clock."""


class Lease:
    """Context manager; inside, ``held`` says whether this process holds the lease or ``done()`` became true."""

    def __init__(self, path: Path, done: Callable[[], bool], *, stale_after: float = STALE_AFTER) -> None:
        self.path, self._done, self._stale_after = path, done, stale_after
        self._owner = uuid.uuid4().hex
        self._counter = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.held = False

    def __enter__(self) -> Lease:
        try:
            self._acquire()
        except BaseException:  # such as Ctrl-C just after the file was made
            self._release()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._release()

    def _acquire(self) -> None:
        seen: _Seen = (None, time.monotonic())
        while not self._done():
            if self._create():
                self.held = True
                self._thread = threading.Thread(target=self._beat, daemon=True, name="lease")
                self._thread.start()
                break
            seen = self._watch(seen)

    def _release(self) -> None:
        self._stop.set()
        if self._thread and self._thread.is_alive():
            self._thread.join()
        if self._read().get("owner") == self._owner:
            self.path.unlink(missing_ok=True)

    def _create(self) -> bool:
        # written beside and linked: the file never exists without its content
        temporary = self.path.with_name(f".{self.path.name}.{self._owner}")
        temporary.write_text(self._content(), encoding="utf-8")
        try:
            os.link(temporary, self.path)
            return True
        except FileExistsError:
            return False
        finally:
            temporary.unlink(missing_ok=True)

    def _watch(self, seen: _Seen) -> _Seen:
        current = self._read()
        sign = (current.get("owner"), current.get("counter"))
        if sign != seen[0]:
            seen = (sign, time.monotonic())
        elif time.monotonic() - seen[1] > self._stale_after or _is_dead(current):
            self._break(current)
            return (None, time.monotonic())
        time.sleep(POLL)
        return seen

    def _break(self, current: Sign) -> None:
        """Remove a dead holder's lease; of several waiters one succeeds, and a new holder's lease is put back."""
        grave = self.path.with_name(f".{self.path.name}.{self._owner}.stale")
        try:
            os.rename(self.path, grave)
        except FileNotFoundError:
            return
        taken = _load(grave)
        if taken.get("owner") != current.get("owner"):
            with contextlib.suppress(FileExistsError):
                os.link(grave, self.path)
        grave.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT):
            if self._read().get("owner") != self._owner:
                return
            self._counter += 1
            temporary = self.path.with_name(f".{self.path.name}.{self._owner}")
            with contextlib.suppress(OSError):
                temporary.write_text(self._content(), encoding="utf-8")
                os.replace(temporary, self.path)

    def _content(self) -> str:
        sign: Sign = {"owner": self._owner, "counter": self._counter, "pid": os.getpid(), "machine": _machine()}
        return json.dumps(sign)

    def _read(self) -> Sign:
        return _load(self.path)


def holder_lives(path: Path, patience: float = HEARTBEAT + 1.0) -> bool:
    """Whether somebody computes under the lease in ``path``; waits for a sign of life where only that can tell."""
    sign = _load(path)
    if not sign or _is_dead(sign):
        return False
    if sign.get("machine") == _machine():
        return True
    time.sleep(patience)
    return _load(path) not in ({}, sign)


def _load(path: Path) -> Sign:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        return cast(Sign, value) if isinstance(value, dict) else {}
    except (OSError, ValueError):
        return {}


def _machine() -> str:
    """A name for this machine's process space: containers on one host have their own."""
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        space = ""
    return f"{socket.gethostname()}:{space}"


def _is_dead(sign: Sign) -> bool:
    if sign.get("machine") != _machine() or "pid" not in sign:
        return False
    try:
        os.kill(int(sign["pid"]), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
