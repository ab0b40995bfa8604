"""Plans and results for people, and the plan as plain values."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, TypedDict

from mtbench.execution.planned import PlannedRuns
from mtbench.pipeline.sharing import shared_stages
from mtbench.records.record import RunRecord, analysis_of
from mtbench.training.diagnostics import DIGEST_STEPS

if TYPE_CHECKING:
    from rich.console import Console


MANY_KNOWN = 3
"""Stages that earlier runs of the tree have too, from which on they are one line."""


class PlannedStage(TypedDict):
    """One stage of one run. ``cached``: it stands in the store; ``needed``: it will be computed; neither: it is gone,
    and nothing that is missing reads it. ``runs``: how many of the runs that are not finished have it."""

    name: str
    episode: int | None
    fingerprint: str
    cached: bool
    needed: bool
    runs: int


class PlannedRun(TypedDict):
    """One run and its stages, in the order in which they can be computed."""

    run_id: str
    label: str
    finished: bool
    stages: list[PlannedStage]


class PlanSummary(TypedDict):
    """A plan. ``saved``: the share of all stages that sharing and the store save. ``missing``: what is not here and has
    to be fetched before the plan can be carried out, each with the command; run ids are provisional then."""

    runs: list[PlannedRun]
    chosen: dict[str, str]
    missing: list[str]
    stages_total: int
    stages_distinct: int
    stages_cached: int
    stages_to_compute: int
    saved: float


def plan_summary(planned: PlannedRuns) -> PlanSummary:
    """Runs, stages in all, distinct, cached, and the share of stages that sharing and the store save."""
    plans = [job.plan.until(planned.until) for job in planned.jobs]
    waiting = [plan for plan, job in zip(plans, planned.jobs, strict=True) if job.finished is None]
    sharing = shared_stages(waiting, planned.store.has)
    left = len(sharing.needed)
    return {
        "runs": [
            {
                "run_id": job.run_id,
                "label": job.label,
                "finished": job.finished is not None,
                "stages": [
                    {
                        "name": s.name,
                        "episode": s.episode,
                        "fingerprint": s.key,
                        "cached": planned.store.has(s.name, s.key),
                        "needed": s.key in sharing.needed,
                        "runs": sharing.users.get(s.key, 0),
                    }
                    for s in plan
                ],
            }
            for job, plan in zip(planned.jobs, plans, strict=True)
        ],
        "chosen": _chosen(planned),
        "missing": list(dict.fromkeys(text for job in planned.jobs for text in job.plan.run.missing)),
        "stages_total": sharing.total,
        "stages_distinct": len(sharing.distinct),
        "stages_cached": len(sharing.cached),
        "stages_to_compute": left,
        "saved": round(1 - left / sharing.total, 4) if sharing.total else 1.0,
    }


def _chosen(planned: PlannedRuns) -> dict[str, str]:
    """Settings that nobody gave, each as it is for all runs, with the reason."""
    choices = [choice for job in planned.jobs for choice in job.plan.run.choices]
    return {c.setting: f"{_value(c.value)} ({c.reason})" for c in choices}


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)


def print_plan(planned: PlannedRuns, console: Console) -> None:
    """The tree of runs and stages."""
    from rich.tree import Tree

    summary = plan_summary(planned)
    tree = Tree(f"{len(summary['runs'])} runs into {planned.results}, stages in {planned.store.root}")
    shown: set[str] = set()
    for run in summary["runs"]:
        branch = tree.add(f"[bold]{run['label']}[/] ({run['run_id']})" + (" finished" if run["finished"] else ""))
        if run["finished"]:
            continue
        known = list(itertools.takewhile(lambda s: not s["cached"] and s["fingerprint"] in shown, run["stages"]))
        if len(known) >= MANY_KNOWN:
            branch.add(f"{_label(known[0])} to {_label(known[-1])}: {len(known)} stages [cyan]as above[/]")
        for stage in run["stages"][len(known) if len(known) >= MANY_KNOWN else 0 :]:
            key = stage["fingerprint"]
            state = "cached" if stage["cached"] else "as above" if key in shown else "compute"
            state = state if stage["cached"] or stage["needed"] else "not needed"
            users = f", shared by {stage['runs']} runs" if stage["runs"] > 1 else ""
            colour = {"as above": "cyan", "compute": "yellow"}.get(state, "green")
            branch.add(f"{_label(stage)} [dim]{key}[/] [{colour}]{state}[/]{users}")
            shown.add(key)
    console.print(tree)
    for text in summary["missing"]:
        console.print(f"not here: {text}", markup=False, soft_wrap=True)
    if summary["missing"]:
        console.print("Sizes are those that are published; run ids are others once the files are here.")
    for setting, told in summary["chosen"].items():
        console.print(f"chosen: {setting}={told}", markup=False)
    rest = summary["stages_distinct"] - summary["stages_cached"] - summary["stages_to_compute"]
    gone = f", {rest} not needed" if rest else ""
    console.print(
        f"{summary['stages_total']} stages in all, {summary['stages_distinct']} distinct, "
        f"{summary['stages_cached']} cached, {summary['stages_to_compute']} to compute{gone} "
        f"({100 * summary['saved']:.0f} % saved by sharing and the store)."
    )


def _label(stage: PlannedStage) -> str:
    return stage["name"] if stage["episode"] is None else f"{stage['name']} {stage['episode']}"


def print_remarks(records: list[RunRecord], console: Console) -> None:
    """What is to be said of the runs beside their figures: analyses, failures, warnings."""
    for sentence in analysis_sentences(records):
        console.print(sentence, markup=False)
    for record in records:
        if record["status"] == "failed" and record["error"]:
            console.print(f"{record['run_id']} failed: {record['error']['message']}", markup=False)
    for message, runs in _by_message(records).items():
        place = runs[0] if len(runs) == 1 else f"{len(runs)} of {len(records)} runs"
        console.print(f"Warning: {place}: {message}", markup=False)
    for sentence in identical_updates(records):
        console.print(f"Warning: {sentence}", markup=False)
    if any(record["spec"].get("limit") for record in records):
        console.print("Runs with --limit are kept off leaderboards.")


def analysis_sentences(records: list[RunRecord]) -> list[str]:
    """For each run that was analysed: how many of its parameters are of which kind."""
    found = []
    for record in records:
        analysis = analysis_of(record)
        if analysis is None:
            continue
        part, chosen = analysis["entropy"], record["spec"]["optimizer"]["name"]
        total = max(1, part["parameters"])
        shares = {name: f"{100 * part[name] / total:.1f} %" for name in ("unused", "not_activated", "task_specific")}
        zeros = [100 * n / total for n in analysis["medians"]["zeros_by_task"].values()]
        found.append(
            f"{chosen}, seed {record['spec']['seed']}: of {part['parameters']:,} parameters {shares['task_specific']} "
            f"are task specific, {shares['not_activated']} not activated, {shares['unused']} unused (0 for every task; "
            f"for single tasks {min(zeros):.1f} to {max(zeros):.1f} % are 0)."
        )
    return found


def _by_message(records: list[RunRecord]) -> dict[str, list[str]]:
    """Warning -> the ids of the runs that have it: what is so of the data is said once, not for each run."""
    found: dict[str, list[str]] = {}
    for record in records:
        for message in dict.fromkeys(warning["message"] for warning in record.get("warnings", [])):
            found.setdefault(message, []).append(record["run_id"])
    return found


def identical_updates(records: list[RunRecord]) -> list[str]:
    """A sentence for every two methods that took the same updates from the same start in the last episode.

    Methods that differ in name alone are worth knowing: a released GradNorm turned out to be the plain sum.
    """
    seen: dict[tuple[int, str | None, str], str] = {}
    found = []
    for record in records:
        episodes = record["training"]["episodes"] if "training" in record else []
        if record["status"] != "complete" or not episodes or episodes[-1]["summary"]["steps"] < DIGEST_STEPS:
            continue
        trained = [s["fingerprint"] for s in record["stages"] if s["name"] in ("warmup", "train")]
        place = (record["spec"]["seed"], trained[-2] if len(trained) > 1 else None, episodes[-1]["update_digest"])
        name = record["spec"]["optimizer"]["name"]
        if seen.setdefault(place, name) != name:
            found.append(
                f"{seen[place]} and {name} took identical updates for {DIGEST_STEPS} steps (seed {place[0]}); "
                "one of them may not do what its name says."
            )
    return found
