"""Exact search against FAISS's flat index, side by side in one run.

    python benchmarks/search.py [--passages 200000] [--queries 1000] [--dimension 128] [--k 100] [--device cuda]

Both get the same fp16 vectors and return the same passages. FAISS stands twice: `IndexFlatIP` as it is (a float32 copy
of the vectors already in its memory, ties in any order), and through mtbench (indexing included, results certified).
The rounds alternate, so that a busy machine slows all alike; the ratios are those of the median times.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from mtbench.retrieval.faiss_library import gpu_available, import_faiss, openmp_threads
from mtbench.retrieval.ranking import Ranking
from mtbench.retrieval.search import search
from mtbench.retrieval.vectors import Vectors


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Measures and prints one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passages", type=int, default=200_000)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    random = np.random.default_rng(0)
    shape = (options.passages, options.dimension)
    corpus = random.standard_normal(shape, dtype=np.float32).astype(np.float16)
    queries = random.standard_normal((options.queries, options.dimension), dtype=np.float32)
    id_rank = random.permutation(options.passages).astype(np.int32)
    shards = np.array_split(corpus, 4)

    def by(backend: str, device: str) -> Ranking:
        return search(queries, Vectors(shards, id_rank), options.k, backend=backend, device=device)  # type: ignore[arg-type]

    faiss = import_faiss()
    index = faiss.IndexFlatIP(options.dimension)
    index.add(corpus.astype(np.float32))
    faiss_device = options.device
    if options.device != "cpu":
        if gpu_available():
            resources = faiss.StandardGpuResources()
            index = faiss.index_cpu_to_gpu(resources, 0, index)
        else:
            print("this FAISS has no GPU code: its rows are measured on the CPU")
            faiss_device = "cpu"
    ways = {
        "mtbench exact": lambda: by("exact", options.device),
        "IndexFlatIP, search only": lambda: index.search(queries, options.k),
        "mtbench flat (FAISS)": lambda: by("flat", faiss_device),
    }
    with openmp_threads(faiss, torch.get_num_threads()):
        for work in ways.values():
            work()
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(options.rounds):
            for name, work in ways.items():
                times[name].append(seconds(work))
        fast = index.search(queries, options.k)[1]
    exact, flat = by("exact", options.device), by("flat", faiss_device)
    report(options, times)
    print(f"exact and flat equal: {np.array_equal(exact.indices, flat.indices)}", end="; ")
    print(f"places where IndexFlatIP alone differs: {100 * float((fast != exact.indices).mean()):.3f} %")


def report(options: argparse.Namespace, times: dict[str, list[float]]) -> None:
    """Median milliseconds, queries per second and the ratio to the first row."""
    settings = " ".join(f"--{name} {value}" for name, value in vars(options).items())
    print(f"python benchmarks/search.py {settings}   (threads: {torch.get_num_threads()})")
    print(f"{'':26}{'median':>10}{'least':>10}{'queries/s':>11}{'against exact':>15}")
    base = float(np.median(next(iter(times.values()))))
    for name, values in times.items():
        median = float(np.median(values))
        print(
            f"{name:26}{1000 * median:8.0f} ms{1000 * min(values):7.0f} ms"
            f"{options.queries / median:11.0f}{median / base:13.2f} x"
        )


if __name__ == "__main__":
    main()
