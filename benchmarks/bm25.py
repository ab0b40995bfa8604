"""BM25 in shards against one piece: time, memory and equality on generated text.

    python benchmarks/bm25.py [--passages 100000] [--queries 500] [--shard-size 20000] [--workers 1]

Each way is a fresh process, so that its peak memory is its own. Words follow Zipf's law, 100 to a passage. Memory is
that of the process; with ``--workers`` each further one maps the same index.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mtbench.retrieval.bm25 import Analyzer
from mtbench.retrieval.bm25_build import build_bm25
from mtbench.retrieval.bm25_search import search_bm25

VOCABULARY = 200_000


def texts(count: int, words: int, seed: int) -> Iterator[str]:
    """Made-up passages or queries, one at a time."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        ranks = np.minimum(random.zipf(1.2, words), VOCABULARY)
        yield " ".join(f"w{rank}" for rank in ranks)


def measure(passages: int, queries: int, shard_size: int, workers: int, folder: Path) -> dict[str, float | str]:
    """Builds and searches once in this process."""
    start = time.perf_counter()
    for _ in texts(passages, 100, 0):
        pass
    generated = time.perf_counter() - start
    start = time.perf_counter()
    build_bm25(texts(passages, 100, 0), folder, shard_size=shard_size, analyzer=Analyzer("none"), workers=workers)
    built = time.perf_counter() - start - generated
    id_rank = np.random.default_rng(2).permutation(passages).astype(np.int32)
    asked = list(texts(queries, 10, 1))
    start = time.perf_counter()
    ranking = search_bm25(folder, asked, 100, id_rank, workers=workers)
    searched = time.perf_counter() - start
    digest = hashlib.sha256(ranking.indices.tobytes() + ranking.scores.tobytes()).hexdigest()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"build": built, "search": searched, "memory": peak, "digest": digest}


def main() -> None:
    """Measures both ways and prints one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--shard-size", type=int, default=20_000)
    parser.add_argument(
        "--workers", type=int, default=1, help="processes that build and search, if there is enough to do"
    )
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        with tempfile.TemporaryDirectory() as folder:
            print(
                json.dumps(
                    measure(options.passages, options.queries, options.shard_size, options.workers, Path(folder))
                )
            )
        return
    numbers = ["--passages", str(options.passages), "--queries", str(options.queries)]
    numbers += ["--workers", str(options.workers)]
    print(f"python benchmarks/bm25.py {' '.join(numbers)} --shard-size {options.shard_size}")
    print(f"{'':12}{'build':>16}{'search':>16}{'peak memory':>14}")
    results = {}
    for name, size in (("one piece", options.passages), ("shards", options.shard_size)):
        command = [sys.executable, __file__, "--measure", *numbers, "--shard-size", str(size)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        results[name] = found
        print(
            f"{name:12}{options.passages / found['build']:10.0f} psg/s{options.queries / found['search']:12.0f} q/s"
            f"{found['memory']:10.0f} MiB"
        )
    whole, shards = results["one piece"], results["shards"]
    print(
        f"{'ratio':12}{whole['build'] / shards['build']:15.2f}x{whole['search'] / shards['search']:15.2f}x"
        f"{shards['memory'] / whole['memory']:13.2f}x"
    )
    print(f"equal rankings: {whole['digest'] == shards['digest']}")


if __name__ == "__main__":
    main()
