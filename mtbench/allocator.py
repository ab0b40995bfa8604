"""What mtbench tells the C library's allocator, in processes of its own."""

from __future__ import annotations

import ctypes


def keep_freed_memory() -> bool:
    """Let glibc keep up to 256 MB of freed memory at the top of a heap; False where that cannot be said.

    By default it hands every large block back to the system and asks for it again, page by page, in the next step:
    an eighth of a small model's step on a processor. It cannot be taken back, so only processes that are mtbench's own
    say it: the command line, workers, ranks. It changes no figure.
    """
    trim_threshold, mmap_threshold = -1, -3  # malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # another system, or another C library
        return False
    return bool(mallopt(mmap_threshold, 32 << 20) and mallopt(trim_threshold, 256 << 20))
