"""The sentences under a leaderboard: which test, which correction, how many seeds, what could have been seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from mtbench.report.rows import Row

METRIC_TITLES = {
    "rprecision_page": "page R-precision",
    "rprecision_passage": "passage R-precision",
    "recall@20": "recall@20",
    "recall@100": "recall@100",
    "mrr@10": "MRR@10",
    "ndcg@10": "nDCG@10",
    "success@1": "success@1",
}


def metric_title(metric: str) -> str:
    """A metric as running text calls it."""
    return METRIC_TITLES.get(metric, metric)


def statistics_notes(rows: Sequence[Row], baseline: str, detectable: Mapping[int, float], profile: str) -> list[str]:
    """Sentences about intervals, tests, tiers and power, each only where the table has what it speaks of."""
    optimizers = [r for r in rows if r.kind == "optimizer" and r.seeds_done]
    fixed = [r for r in rows if r.kind in ("baseline", "external") and r.gain and r.gain.p is not None]
    notes = [*_on_seeds(optimizers, baseline), *_on_tests(optimizers, baseline)]
    if fixed:
        notes.append(
            "Baselines and outside systems with one figure are held fixed and tested against the seeds of"
            f" {baseline}, Holm-corrected among themselves."
        )
    notes += _on_environments(optimizers)
    single = [r.name for r in optimizers if len(r.seeds_done) == 1]
    if single:
        few = ", ".join(single[:4]) + (" and others" if len(single) > 4 else "")
        notes.append(f"One seed ({few}): no interval, no star; one seed cannot tell a method from its noise.")
    if any(r.best_tier for r in optimizers):
        notes.append(
            "•: best tier: the best average and the optimizers that the same test, Holm-corrected, cannot tell from it."
        )
    if detectable:
        found = "; ".join(f"{100 * difference:.2f} points with {n} seeds" for n, difference in detectable.items())
        notes.append(
            "Smallest true gain that would be found four times out of five, at the spread of the paired differences"
            f" seen here and before Holm: {found}."
        )
    if any(r.kind == "reported" for r in rows):
        notes.append(f"reported: figures printed in papers, not measured here{_warning(profile)}.")
    return notes


def _on_environments(optimizers: Sequence[Row]) -> list[str]:
    """What rows were computed with, where it is not the same for all: it changes figures a little."""
    found: dict[str, set[str]] = {}
    for record in (r.runs[seed] for r in optimizers for seed in r.seeds_done):
        environment = record["environment"]
        told = {
            "torch": (environment.get("libraries") or {}).get("torch"),
            "threads": environment.get("threads"),
            "device": environment.get("device"),
            "processor": environment.get("processor"),
        }
        for name, value in told.items():
            if value is not None:
                found.setdefault(name, set()).add(str(value))
    mixed = [f"{name} ({', '.join(sorted(values))})" for name, values in found.items() if len(values) > 1]
    if not mixed:
        return []
    return [f"Runs of several environments, which alone can move figures: they differ in {'; '.join(mixed)}."]


def _on_seeds(optimizers: Sequence[Row], baseline: str) -> Iterator[str]:
    seeds = sorted({len(r.seeds_done) for r in optimizers})
    if any(n > 1 for n in seeds):
        yield f"±: half the 95 % t-interval of the average over seeds (n = {_counts(seeds)})."
    if len({tuple(sorted(r.seeds_done)) for r in optimizers}) > 1:
        yield (
            "Not all rows have the same seeds: averages and places are over each row's own seeds,"
            f" tests against {baseline} over those that both have."
        )


def _on_tests(optimizers: Sequence[Row], baseline: str) -> Iterator[str]:
    tests = [r.gain for r in optimizers if r.gain is not None and r.gain.p is not None]
    if not tests:
        return
    yield (
        f"*: differs from {baseline}, p < .05: two-sided paired t-test over seed-level averages"
        f" (n = {_counts(sorted({t.n for t in tests}))} seeds), Holm-corrected over {_many(len(tests))}."
        f" On a task: the same test, Holm-corrected over the tasks of that optimizer."
    )
    yield (
        "Tests over queries speak of these checkpoints, not of the method, and earn no star;"
        " they are printed by `mtbench compare`."
    )


def _warning(profile: str) -> str:
    if profile == "paper":
        return ""
    return f"; they are on the real data, the profile {profile!r} is not: don't compare them with the rows above"


def _counts(counts: Sequence[int]) -> str:
    return " or ".join(map(str, counts)) if len(counts) < 3 else f"{counts[0]} to {counts[-1]}"


def _many(count: int) -> str:
    return "1 optimizer" if count == 1 else f"{count} optimizers"
