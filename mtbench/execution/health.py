"""What ``mtbench doctor`` looks at."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import get_args

from mtbench.errors import EnvironmentMismatchError, MtbenchError
from mtbench.execution.ray.connect import join_cluster
from mtbench.records.environment import machine
from mtbench.records.record import Environment
from mtbench.registry import Kind, builtin_folder, entries
from mtbench.retrieval.faiss_library import faiss_builds
from mtbench.storage.places import default_root, expanded


class Health(Environment, total=False):
    """What stands here, and ``problems`` as sentences with their remedies. ``cluster``: nodes, and their resources."""

    cores: int | None
    gpus: list[str]
    bf16: bool
    faiss: str
    store: str
    store_free_gb: float
    optimizers: int
    suites: int
    cluster: dict[str, float]
    problems: list[str]


def examine(store: str | None, address: str | None) -> Health:
    """Look at the installation, the store and, where ``address`` names one, a Ray cluster."""
    import torch

    problems: list[str] = []
    root = expanded(store) if store else default_root()
    facts: Health = {**machine()}
    facts["cores"] = os.cpu_count()
    facts["gpus"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    facts["bf16"] = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    facts["faiss"] = _faiss(problems)
    facts["store"] = str(root)
    facts["store_free_gb"] = _free_space(root, problems)
    for kind in get_args(Kind):
        try:
            builtin_folder(kind)
            facts["optimizers" if kind == "optimizer" else "suites"] = len(entries(kind))
        except EnvironmentMismatchError as error:
            problems.append(str(error))
    if address:
        facts["cluster"] = _cluster(address, problems)
    facts["problems"] = problems
    return facts


def _faiss(problems: list[str]) -> str:
    builds = faiss_builds()
    if len(builds) > 1:
        problems.append(
            "faiss-cpu and faiss-gpu are both installed and overwrite each other. Keep one: "
            "pip uninstall -y faiss-cpu faiss-gpu && pip install faiss-cpu (or 'faiss-gpu>=1.15.1')"
        )
    elif not builds:
        problems.append("FAISS is not installed: pip install faiss-cpu")
    return ", ".join(f"{name} {version}" for name, version in builds.items()) or "none"


def _free_space(root: Path, problems: list[str]) -> float:
    """In GB; a problem where nothing can be written."""
    existing = next(p for p in [root, *root.parents] if p.exists())
    free = round(shutil.disk_usage(existing).free / 1e9, 1)
    try:
        tempfile.TemporaryDirectory(dir=existing).cleanup()  # permissions alone do not tell
    except OSError as error:
        reason = error.strerror or type(error).__name__
        problems.append(f"the store {root} cannot be written ({reason}); choose another with --store or MTBENCH_HOME")
    return free


def _cluster(address: str, problems: list[str]) -> dict[str, float]:
    import ray

    try:
        join_cluster(address)
        found: dict[str, float] = {"nodes": sum(bool(n["Alive"]) for n in ray.nodes())}
        return found | {k: v for k, v in ray.cluster_resources().items() if k in ("CPU", "GPU", "memory")}
    except MtbenchError as error:
        problems.append(str(error).splitlines()[0])
        return {}
    finally:
        ray.shutdown()
