"""Ten thousand records: time and memory to load and rank them. Target: under 3 s and under 500 MB.

    python benchmarks/leaderboard.py [--records 10000]

Records of 40 kB are made once in a temporary folder (eight tasks, a realistic configuration, learning curves of four
episodes), then a fresh process loads and ranks them, so that its peak memory is that of the leaderboard alone.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TASKS = ("fever", "aidayago2", "trex", "zsre", "nq", "hotpotqa", "triviaqa", "wow")
METRICS = ("rprecision_page", "rprecision_passage", "recall@20", "recall@100", "mrr@10", "ndcg@10")
SEEDS = 20


def make_record(setting: int, seed: int) -> dict[str, Any]:
    """One record: ``setting`` decides optimizer and tau."""
    random_numbers = random.Random(f"{setting} {seed}")
    name = "naive" if setting == 0 else f"method{setting % 25}"
    values = {task: random_numbers.gauss(0.6, 0.02) for task in TASKS}
    curve = [round(random_numbers.random(), 5) for _ in range(40)]
    curves = {key: dict.fromkeys(TASKS, curve) for key in ("losses", "weights", "gradient_norms")}
    config = {f"section{i}": {f"key{j}": i * j / 7 for j in range(8)} for i in range(8)}
    return {
        "status": "complete",
        "spec": {
            "optimizer": {"name": name, "params": {"tau": float(setting // 25 + 1)} if setting else {}},
            "suite": "kilt",
            "suite_version": 1,
            "suite_fingerprint": "f" * 64,
            "profile": "mini",
            "seed": seed,
            "config": config,
            "limit": None,
        },
        "metric": "rprecision_page",
        "tasks": {t: {"title": t, "metrics": dict.fromkeys(METRICS, v), "num_queries": 300} for t, v in values.items()},
        "average": sum(values.values()) / len(values),
        "history": [{"episode": e, "average": 0.5, "tasks": values} for e in range(4)],
        "stages": [{"name": "train", "fingerprint": "a" * 64, "reused": False, "seconds": 1.0}] * 12,
        "cost": {
            "seconds": {"train": 1.0},
            "total_seconds": 100.0,
            "step_ms": 50.0,
            "peak_memory_bytes": 10**9,
        },
        "training": {"episodes": [{"episode": e, **curves} for e in range(4)]},
        "environment": {"libraries": {f"library{i}": "1.0.0" for i in range(15)}},
        "error": None,
    }


def write_records(folder: Path, count: int) -> None:
    """Write ``count`` records; without fsync, which is not what is measured."""
    from mtbench.records import files as records

    records.os.fsync = lambda _: None  # type: ignore[attr-defined]
    for index in range(count):
        records.write_record(folder, make_record(index // SEEDS, index % SEEDS))


def measure(folder: Path) -> dict[str, float]:
    """Seconds to load, to rank and to render, processor seconds of all three, and the peak memory in MB."""
    from mtbench.records.files import load_records
    from mtbench.report.leaderboard import build_board
    from mtbench.report.tables import to_csv

    start, cpu = time.perf_counter(), time.process_time()
    loaded = load_records(folder, suite="kilt", profile="mini", summary=True)
    read = time.perf_counter()
    board = build_board(loaded)
    ranked = time.perf_counter()
    to_csv(board)
    done = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "records": len(loaded),
        "rows": len(board.rows),
        "load_s": round(read - start, 2),
        "rank_s": round(ranked - read, 2),
        "csv_s": round(done - ranked, 2),
        "cpu_s": round(time.process_time() - cpu, 2),
        "peak_mb": round(peak),
    }


def main() -> None:
    """Make the records, measure in a fresh process, print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure)))
        return
    with tempfile.TemporaryDirectory() as folder:
        write_records(Path(folder), options.records)
        subprocess.run([sys.executable, __file__, "--measure", folder], check=True)


if __name__ == "__main__":
    main()
