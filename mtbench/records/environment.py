"""What a record says about where it was made: versions and device, no host name, user or path."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any

LIBRARIES = ("torch", "transformers", "tokenizers", "numpy", "scipy", "faiss-cpu", "faiss-gpu", "bm25s", "ray")


@lru_cache(maxsize=1)
def environment() -> dict[str, Any]:
    """Git commit or None, versions, device, threads."""
    import torch

    import mtbench

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu ({platform.machine()})"
    return {
        "git_commit": _git_commit(),
        "mtbench": mtbench.__version__,
        "python": platform.python_version(),
        "platform": platform.system(),
        "libraries": {name: v for name in LIBRARIES if (v := _version(name))},
        "device": device,
        "threads": torch.get_num_threads(),
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """The commit of the checkout that mtbench runs from; None if it is not one or git is absent."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        done = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
