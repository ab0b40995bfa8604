"""Simulated optimizers with known truth: does the starred test keep its word, and what can it find?

    python benchmarks/statistics.py [--simulations 2000] [--json]

A run scores each query 0 or 1 with the query's own probability, moved by the run's noise (the seed) and, for the
better method, by its true gain. The tests are those of ``mtbench.report.statistics``:

- seeds: paired t over seed-level averages, the only one that earns a star;
- crossed: seeds and queries random;
- queries: paired t over queries of the seeds' mean scores, as papers often do.

Exits with 1 if the starred test's false positives leave 3 to 7 % at a nominal 5 %.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import sysconfig
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtbench.report.statistics import Difference, Scores, crossed_test, holm, paired_t, power, query_t_test

if __name__ == "statistics":
    # Imported from another benchmark, whose folder comes first in the search: the standard library's module is meant.
    spec = importlib.util.spec_from_file_location("statistics", f"{sysconfig.get_paths()['stdlib']}/statistics.py")
    assert spec and spec.loader
    sys.modules["statistics"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["statistics"])

SEEDS = (3, 5, 10)
NOISES = (0.003, 0.006, 0.009)
QUERIES = (800, 2837, 10_000)
GAIN = 0.013
TASKS = 8
OPTIMIZERS = 14


@dataclass(frozen=True)
class Case:
    """One cell: standard deviation of a run's mean (fraction of 1), dev queries over all tasks, true gain."""

    noise: float
    queries: int
    gain: float = 0.0


def simulate(case: Case, random: np.random.Generator) -> tuple[Scores, Scores]:
    """Per-query scores of the better method and of the baseline, (most seeds, queries) for each task."""
    treated: dict[str, NDArray[np.float64]] = {}
    baseline: dict[str, NDArray[np.float64]] = {}
    seeds, share = max(SEEDS), case.queries // TASKS
    # A run's noise moves all tasks together: the worst case for averages over tasks.
    moves = random.normal(0.0, case.noise, (2, seeds, 1)).astype(np.float32)
    for task in range(TASKS):
        chance = _chances(random, share)
        for into, move, gain in ((treated, moves[0], case.gain), (baseline, moves[1], 0.0)):
            drawn = random.random((seeds, share), dtype=np.float32) < chance + move + np.float32(gain)
            into[str(task)] = drawn.astype(np.float64)
    return treated, baseline


def _chances(random: np.random.Generator, count: int) -> NDArray[np.float32]:
    """Most queries are nearly always found or nearly always missed; far enough from 0 and 1 for noise to act."""
    return (0.1 + 0.8 * random.beta(0.4, 0.3, count)).astype(np.float32)


def tests(treated: Scores, baseline: Scores, seeds: int) -> dict[str, Difference]:
    """The three tests on the first ``seeds`` seeds."""
    a, b = ({t: v[:seeds] for t, v in scores.items()} for scores in (treated, baseline))
    means = [np.mean([v.mean(axis=1) for v in scores.values()], axis=0) for scores in (a, b)]
    by_seed = [dict(enumerate(map(float, m))) for m in means]
    return {"seeds": paired_t(*by_seed), "crossed": crossed_test(a, b), "queries": query_t_test(a, b)}


def rates(case: Case, simulations: int) -> list[dict[str, Any]]:
    """Share of simulations in which each test says p < .05, for each number of seeds."""
    random = np.random.default_rng([round(1e6 * case.noise), case.queries, round(1e6 * case.gain)])
    found = {n: dict.fromkeys(("seeds", "crossed", "queries"), 0) for n in SEEDS}
    spread: list[float] = []
    for _ in range(simulations):
        treated, baseline = simulate(case, random)
        for n in SEEDS:
            for name, test in tests(treated, baseline, n).items():
                found[n][name] += test.p is not None and test.p < 0.05
                if name == "seeds" and n == max(SEEDS) and test.sd:
                    spread.append(test.sd**2)
    sd = float(np.mean(spread)) ** 0.5
    return [
        {
            "noise_points": 100 * case.noise,
            "queries": case.queries,
            "gain_points": 100 * case.gain,
            "n": n,
            **{f"{name}_rate": count / simulations for name, count in found[n].items()},
            "power_formula": power(case.gain, sd, n) if case.gain else None,
        }
        for n in SEEDS
    ]


def family_wise(simulations: int) -> list[dict[str, Any]]:
    """Share of tables with any star when all optimizers equal the baseline they share, Holm-corrected."""
    random = np.random.default_rng(7)
    lines = []
    for n in SEEDS:
        stars = 0
        for _ in range(simulations):
            runs = random.normal(0, 0.006, (OPTIMIZERS + 1, n))
            base = dict(enumerate(map(float, runs[0])))
            p = [paired_t(dict(enumerate(map(float, run))), base).p for run in runs[1:]]
            stars += any(q is not None and q < 0.05 for q in holm(p))
        lines.append({"n": n, "optimizers": OPTIMIZERS, "any_star": stars / simulations})
    return lines


def show(title: str, lines: list[dict[str, Any]]) -> None:
    """Print lines of rates in percent."""
    print(f"\n{title}")
    print(f"{'noise':>6} {'queries':>8} {'n':>3}   {'seeds*':>7} {'crossed':>8} {'queries':>8}   formula")
    for line in lines:
        formula = "" if line["power_formula"] is None else f"{100 * line['power_formula']:6.1f} %"
        print(
            f"{line['noise_points']:6.1f} {line['queries']:8d} {line['n']:3d}   {100 * line['seeds_rate']:5.1f} %"
            f" {100 * line['crossed_rate']:6.1f} % {100 * line['queries_rate']:6.1f} %   {formula}"
        )


def main() -> int:
    """Run all cells; 1 if the starred test does not keep its level."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--simulations", type=int, default=2000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    null = [line for noise in NOISES for q in QUERIES for line in rates(Case(noise, q), options.simulations)]
    gain = [line for noise in NOISES for line in rates(Case(noise, QUERIES[1], GAIN), options.simulations)]
    family = family_wise(options.simulations)
    if options.json:
        print(json.dumps({"null": null, "gain": gain, "family": family}))
    else:
        show("False positives, no true difference (nominal 5 %; * the starred test)", null)
        show(f"Power, true gain of {100 * GAIN:.1f} points", gain)
        print(f"\nTables with any star, {OPTIMIZERS} optimizers equal to the baseline (Holm, nominal at most 5 %)")
        for line in family:
            print(f"n = {line['n']:2d}: {100 * line['any_star']:.1f} %")
    levels = [line["seeds_rate"] for line in null]
    print(f"\nstarred test: false positives {100 * min(levels):.1f} to {100 * max(levels):.1f} %", file=sys.stderr)
    return 0 if min(levels) >= 0.03 and max(levels) <= 0.07 else 1


if __name__ == "__main__":
    sys.exit(main())
