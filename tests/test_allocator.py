"""What the C library's allocator is told."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys, torch
from mtbench.allocator import keep_freed_memory
torch.set_num_threads(1)
if sys.argv[1] == "keep" and not keep_freed_memory():
    print(-1)
    raise SystemExit
def step():
    blocks = [torch.ones(500_000) for _ in range(4)]
    del blocks[::2]
for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(30):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(way: str) -> int:
    # a fixed threshold: glibc's own moves with what is freed, and where blocks happen to lie decides what is kept
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "131072", "LD_PRELOAD": ""}
    command = [sys.executable, "-c", PROGRAM, way]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return int(done.stdout)


def test_freed_memory_is_not_asked_for_page_by_page_again() -> None:
    kept = page_faults("keep")
    if kept < 0:
        pytest.skip("no glibc")
    assert kept < page_faults("as it is") / 10
