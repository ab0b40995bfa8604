"""An estimate in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from mtbench.execution.estimate import Estimate, EstimateRow, estimate, paper_projection
from mtbench.execution.planned import PlannedRuns

if TYPE_CHECKING:
    from rich.console import Console


class Estimates(TypedDict):
    """Of the plan, and of the same runs in the profile ``paper`` where the suite has it."""

    estimate: EstimateRow
    estimate_paper: EstimateRow | None


def estimate_summary(planned: PlannedRuns) -> Estimates:
    """The estimate of the plan, and of the same runs with the paper's model, data and eight episodes."""
    projected = paper_projection(planned)
    return {
        "estimate": estimate(planned).plain(),
        "estimate_paper": projected.plain() if projected else None,
    }


def print_estimate(planned: PlannedRuns, console: Console) -> None:
    """Share of the work that is left, hours, memory, and what they rest on."""
    here = estimate(planned)
    left = f"{100 * here.share:.0f} %" if here.independent else "nothing"
    console.print(f"Work left: {left} of what the same runs would cost one by one with an empty store.")
    is_paper = any(job.plan.run.config.encoder.path != "tiny" for job in planned.jobs)
    chosen = here if is_paper else paper_projection(planned)
    if chosen is None:
        return
    what = "this plan" if is_paper else "the same runs in the profile paper (T5-base, real data, its episodes)"
    console.print(_sentence(chosen, what), soft_wrap=True)


def _sentence(cost: Estimate, what: str) -> str:
    plain = cost.plain()
    memory = ", ".join(f"{name.replace('_', ' ')} {value / 1e9:.0f}" for name, value in cost.memory.items())
    return (
        f"Estimate for {what}: {plain['gpu_hours']:g} GPU hours against {plain['gpu_hours_independent']:g} one by one "
        f"(share {cost.share:.2f}), {plain['gpu_hours_one_run']:g} for one run; on an A100 at 100 TFLOP/s effective. "
        f"Tokenising and BM25: {plain['cpu_hours']:g} core hours.\n"
        f"{cost.stages} stages in all, {cost.distinct} distinct.\n"
        f"GPU memory in GB: {memory}; store: {cost.disk / 1e9:.0f} GB for each model's vectors and weights.\n"
        f"Basis: {plain['basis']}."
    )
