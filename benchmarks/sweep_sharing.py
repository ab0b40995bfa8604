"""How much time a sweep saves by sharing stages: six tau and six beta, one at a time, against independent runs.

    python benchmarks/sweep_sharing.py [--episodes 4] [--independent 2] [--executor local]

The sweep (11 distinct runs; the optimizer acts in the last episode) runs in an empty store and is timed as a whole,
its planning and its records included. Independent runs are timed the same way, each in an empty store of its own;
``--independent`` says how many are really run, their mean stands for the others.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from mtbench.execution.choose import make_executor
from mtbench.execution.estimate import estimate, paper_projection
from mtbench.execution.grid import parse_axes
from mtbench.execution.matrix import RunMatrix
from mtbench.execution.options import ExecutionOptions, PlanOptions
from mtbench.execution.progress import Reporter
from mtbench.execution.sweep_plan import Sweep, SweepRequest, plan_sweep
from mtbench.execution.sweeping import run_sweep

GRID = ("tau=0.5,1,2,4,8,16", "beta=0,0.5,0.9,0.99,0.999,0.9999")
SMALL = ("encoder.hidden=32", "encoder.feed_forward=64", "train.batch_size=32", "train.warmup_steps=40")


def make_sweep(grid: tuple[str, ...], episodes: int, steps: int, executor: str) -> SweepRequest:
    """The sweep of ``grid`` around the defaults of T-SAGE."""
    assignments = [*SMALL, f"train.steps={steps}", f"train.episodes={episodes}"]
    matrix = RunMatrix(["tsage"], "kilt", assignments=assignments, baselines=())
    return SweepRequest(matrix, tuple(parse_axes(grid)), True, execution=ExecutionOptions(executor))


def timed(request: SweepRequest, home: Path) -> tuple[float, Sweep]:
    """Seconds of a sweep in an empty store."""
    executor = make_executor(request.execution, Reporter(quiet=True))
    began = time.monotonic()
    sweep = run_sweep(request, PlanOptions(home / "store", home / "results"), executor)
    if any(setting.status != "complete" for setting in sweep.settings):
        raise SystemExit("a run failed: " + json.dumps([s.records[0]["error"] for s in sweep.settings]))
    return time.monotonic() - began, sweep


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=4)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--independent", type=int, default=2)
    parser.add_argument("--executor", default="local")
    chosen = parser.parse_args()
    request = make_sweep(GRID, chosen.episodes, chosen.steps, chosen.executor)
    with tempfile.TemporaryDirectory(prefix="sweep-sharing-") as folder:
        home = Path(folder)
        planned = plan_sweep(request, PlanOptions(home / "plan", home / "plan" / "results")).planned
        predicted, paper = estimate(planned).share, paper_projection(planned)
        total, sweep = timed(request, home / "shared")
        alone = []
        for number in range(chosen.independent):
            single = make_sweep((f"tau={2 ** (number - 1)}",), chosen.episodes, chosen.steps, chosen.executor)
            alone.append(timed(single, home / f"alone-{number}")[0])
    runs = sweep.planned.jobs
    records = [record for setting in sweep.settings for record in setting.records]
    by_itself = sum(record["cost"]["total_seconds"] for record in records)
    computed = [s["fingerprint"] for r in records for s in r["stages"] if not s["reused"]]
    result = {
        "runs": len(runs),
        "episodes": chosen.episodes,
        "sweep_seconds": round(total, 1),
        "independent_seconds_measured": [round(s, 1) for s in alone],
        "share_measured": round(total / (len(runs) * sum(alone) / len(alone)), 3) if alone else None,
        "share_by_stage_seconds": round(sum(r["cost"]["computed_seconds"] for r in records) / by_itself, 3),
        "stages_computed_twice": len(computed) - len(set(computed)),
        "share_predicted": round(predicted, 3),
        "share_predicted_paper": round(paper.share, 3) if paper else None,
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
