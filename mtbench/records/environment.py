"""What a record says about where it was made: versions and device, no host name, user or path."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from functools import lru_cache
from pathlib import Path

from mtbench.records.record import Environment
from mtbench.version import VERSION

LIBRARIES = ("torch", "transformers", "tokenizers", "numpy", "scipy", "faiss-cpu", "faiss-gpu", "bm25s", "ray")


@lru_cache(maxsize=1)
def environment() -> Environment:
    """Git commit or None, versions, device, threads."""
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu ({platform.machine()})"
    return {
        "git_commit": _git_commit(),
        "mtbench": VERSION,
        "python": platform.python_version(),
        "platform": platform.system(),
        "libraries": _versions(LIBRARIES),
        "device": device,
        "threads": torch.get_num_threads(),
    }


def scoring_environment() -> Environment:
    """What scored an outside system's files; what made them is not known. Needs no torch."""
    return {
        "git_commit": None,
        "mtbench": VERSION,
        "python": platform.python_version(),
        "libraries": _versions(("numpy",)),
        "device": None,
    }


def _versions(names: tuple[str, ...]) -> dict[str, str]:
    return {name: version for name in names if (version := _version(name))}


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
