"""Being told to end (Ctrl-C, SIGTERM, SIGHUP) in a way that does not get lost.

A signal raises KeyboardInterrupt wherever the program happens to be. Where that is a callback of the interpreter (a
module's lock while it is imported, a finaliser) or a library's bare ``except``, the exception vanishes and the run
goes on for hours. So the handler leaves a mark as well, and long loops ask for it.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
_told = threading.Event()


def check() -> None:
    """KeyboardInterrupt if the process was told to end and went on; called between steps, shards and stages."""
    if _told.is_set():
        raise KeyboardInterrupt


@contextlib.contextmanager
def told_to_end() -> Iterator[None]:
    """Inside, a scheduler's SIGTERM and a closed terminal's SIGHUP end the program as Ctrl-C does.

    Outside the main thread, which alone hears signals, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signals = [getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)]
    before = [signal.signal(number, _tell) for number in signals]
    try:
        yield
    finally:
        _told.clear()
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


def _tell(number: int, frame: FrameType | None) -> None:
    _told.set()
    raise KeyboardInterrupt
