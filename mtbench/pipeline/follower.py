"""``python -m mtbench.pipeline.follower``: one of the ranks above 0, as a child of rank 0."""

from __future__ import annotations

import os
import sys
import threading
import time

from mtbench.allocator import keep_freed_memory
from mtbench.pipeline.followers import with_ranks


def _end_with(parent: int) -> None:
    """A follower whose leader was killed may wait in an exchange for long, with a GPU in its hands."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def _never() -> None:
    raise AssertionError("a follower's rank is above 0")


if __name__ == "__main__":
    keep_freed_memory()
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    sys.exit(with_ranks(_never))
