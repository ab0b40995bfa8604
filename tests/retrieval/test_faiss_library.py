from __future__ import annotations

import sys
from importlib import metadata

import numpy as np
import pytest

from mtbench.errors import EnvironmentMismatchError
from mtbench.retrieval.faiss_library import faiss_builds, gpu_available, import_faiss, openmp_threads
from mtbench.retrieval.search import search
from mtbench.retrieval.vectors import Vectors

QUERIES, CORPUS = np.ones((1, 2), np.float32), Vectors([np.ones((3, 2), np.float16)], np.arange(3))


def test_one_build_is_installed() -> None:
    assert len(faiss_builds()) == 1


def test_two_builds_are_both_named(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"faiss-cpu": "1.15.1", "faiss-gpu": "1.15.2"}

    def version(name: str) -> str:
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(metadata, "version", version)
    assert faiss_builds() == versions


@pytest.mark.skipif(gpu_available(), reason="FAISS has a GPU here")
@pytest.mark.parametrize("backend", ["flat", "ivf"])
def test_a_gpu_without_the_gpu_build_names_the_remedy(backend: str) -> None:
    with pytest.raises(EnvironmentMismatchError, match=r"GPU"):
        search(QUERIES, CORPUS, 1, backend=backend, device="cuda")


def test_hnsw_has_no_gpu_form() -> None:
    with pytest.raises(EnvironmentMismatchError, match="no HNSW"):
        search(QUERIES, CORPUS, 1, backend="hnsw", device="cuda:0")


def test_missing_faiss_points_to_the_exact_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(EnvironmentMismatchError, match=r"search[.]backend=exact"):
        search(QUERIES, CORPUS, 1, backend="flat")


def test_threads_are_restored() -> None:
    faiss = import_faiss()
    before = faiss.omp_get_max_threads()
    with openmp_threads(faiss, before + 1):
        assert faiss.omp_get_max_threads() == before + 1
    assert faiss.omp_get_max_threads() == before
