"""Which FAISS is installed, and what it can do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import Any

from mtbench.errors import EnvironmentMismatchError

DISTRIBUTIONS = ("faiss-cpu", "faiss-gpu", "faiss-gpu-cu11", "faiss-gpu-cu12", "faiss-gpu-cuvs")
GPU_INSTALL = "pip uninstall -y faiss-cpu && pip install 'faiss-gpu>=1.15.1'"


def faiss_builds() -> dict[str, str]:
    """Installed FAISS distributions and their versions.

    More than one is a fault, which pip does not notice: they overwrite each other's files, and removing one breaks the
    other. The remedy is to remove all of them and install one.
    """
    found = {}
    for name in DISTRIBUTIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def gpu_available() -> bool:
    """Whether the FAISS that is installed has GPU code and sees a device."""
    faiss = import_faiss()
    return hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus() > 0


def import_faiss() -> Any:
    """The module; raises EnvironmentMismatchError if there is none that works."""
    try:
        import faiss
    except (ImportError, RuntimeError) as error:
        raise EnvironmentMismatchError(
            f"FAISS cannot be imported ({error}).\n"
            "  Install one build (pip install faiss-cpu), or use the setting search.backend=exact, which needs none."
        ) from error
    return faiss


def require_gpu(faiss: Any, backend: str) -> None:
    """Raises EnvironmentMismatchError unless the index ``backend`` can be used on a GPU here."""
    if backend == "hnsw":
        raise EnvironmentMismatchError(
            "FAISS has no HNSW for GPUs.\n  Use search.backend=flat or ivf, or search on the CPU."
        )
    if not hasattr(faiss, "StandardGpuResources"):
        builds = ", ".join(f"{name} {version}" for name, version in faiss_builds().items()) or "unknown"
        raise EnvironmentMismatchError(
            f"search.backend={backend} on a GPU needs FAISS's GPU build; installed is {builds}.\n"
            f"  {GPU_INSTALL}\n  Or use search.backend=exact, which runs on the GPU through torch."
        )
    if faiss.get_num_gpus() == 0:
        raise EnvironmentMismatchError(
            "FAISS's GPU build sees no GPU.\n  Search on the CPU, or look at the driver and CUDA_VISIBLE_DEVICES."
        )


@contextmanager
def openmp_threads(faiss: Any, threads: int | None = None) -> Iterator[None]:
    """Sets FAISS's OpenMP threads (torch's number if none is given), and restores them."""
    import torch

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(threads or torch.get_num_threads())
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
