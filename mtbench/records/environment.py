"""What a record says about where it was made: versions, device and threads, no host name, user or path."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import subprocess
from functools import lru_cache
from pathlib import Path

from mtbench.records.record import Environment
from mtbench.version import VERSION

LIBRARIES = ("torch", "transformers", "tokenizers", "numpy", "scipy", "faiss-cpu", "faiss-gpu", "bm25s", "ray")


def environment(threads: int) -> Environment:
    """The machine, and the ``threads`` with which stages are computed on it."""
    return {**machine(), "threads": threads}


@lru_cache(maxsize=1)
def machine() -> Environment:
    """Git commit or None, versions, device and processor."""
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu ({platform.machine()})"
    return {
        "git_commit": _git_commit(),
        "mtbench": VERSION,
        "python": platform.python_version(),
        "platform": platform.system(),
        "libraries": _versions(LIBRARIES),
        "device": device,
        "processor": _processor(),
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


def _processor(file: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's model without marks and clock rates; its architecture where the system does not name one."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2] for line in lines if line.partition(":")[0].strip() == "model name")
    text = next(named, "") or platform.processor() or platform.machine()
    return " ".join(re.sub(r"\((R|TM|C)\)|\bCPU\b|@.*", " ", text, flags=re.IGNORECASE).split())


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
