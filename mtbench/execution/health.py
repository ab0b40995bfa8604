"""What ``mtbench doctor`` looks at."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from mtbench.errors import EnvironmentMismatchError, MtbenchError
from mtbench.execution.ray.connect import join_cluster
from mtbench.records.environment import environment
from mtbench.registry import builtin_folder, entries
from mtbench.retrieval.faiss_library import faiss_builds
from mtbench.storage.places import default_root, expanded


def examine(store: str | None, address: str | None) -> dict[str, Any]:
    """Plain facts, and ``problems`` as sentences with their remedies."""
    import torch

    problems: list[str] = []
    root = expanded(store) if store else default_root()
    facts: dict[str, Any] = {k: v for k, v in environment().items() if k != "threads"}
    facts["cores"] = os.cpu_count()
    facts["gpus"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    facts["bf16"] = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    builds = faiss_builds()
    facts["faiss"] = ", ".join(f"{name} {version}" for name, version in builds.items()) or "none"
    if len(builds) > 1:
        problems.append(
            "faiss-cpu and faiss-gpu are both installed and overwrite each other. Keep one: "
            "pip uninstall -y faiss-cpu faiss-gpu && pip install faiss-cpu (or 'faiss-gpu>=1.15.1')"
        )
    elif not builds:
        problems.append("FAISS is not installed: pip install faiss-cpu")
    facts["store"] = str(root)
    problems += _store(facts, root)
    for kind in ("optimizer", "suite"):
        try:
            builtin_folder(kind)
            facts[f"{kind}s"] = len(entries(kind))
        except EnvironmentMismatchError as error:
            problems.append(str(error))
    if address:
        facts["cluster"] = _cluster(address, problems)
    facts["problems"] = problems
    return facts


def _store(facts: dict[str, Any], root: Path) -> list[str]:
    existing = next(p for p in [root, *root.parents] if p.exists())
    facts["store_free_gb"] = round(shutil.disk_usage(existing).free / 1e9, 1)
    try:
        tempfile.TemporaryDirectory(dir=existing).cleanup()  # permissions alone do not tell
    except OSError as error:
        reason = error.strerror or type(error).__name__
        return [f"the store {root} cannot be written ({reason}); choose another with --store or MTBENCH_HOME"]
    return []


def _cluster(address: str, problems: list[str]) -> dict[str, Any]:
    import ray

    try:
        join_cluster(address)
        resources = {k: v for k, v in ray.cluster_resources().items() if k in ("CPU", "GPU", "memory")}
        return {"nodes": sum(bool(n["Alive"]) for n in ray.nodes()), **resources}
    except MtbenchError as error:
        problems.append(str(error).splitlines()[0])
        return {}
    finally:
        ray.shutdown()
