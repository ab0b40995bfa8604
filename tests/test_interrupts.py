"""A signal ends the program even where the exception that it raises is swallowed."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from mtbench import interrupts


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_a_library_swallows_is_not_lost(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with interrupts.told_to_end():
        interrupts.check()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
            time.sleep(5)
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()
    interrupts.check()
    assert signal.getsignal(number) is before


def test_other_threads_change_no_handlers() -> None:
    found: list[object] = []

    def work() -> None:
        with interrupts.told_to_end():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [signal.getsignal(signal.SIGTERM)]
