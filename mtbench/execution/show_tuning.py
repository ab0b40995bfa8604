"""The outcome of tuning for people and as plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from mtbench.execution.sweep_plan import Setting
from mtbench.execution.tuning import Tuned, Tuner

if TYPE_CHECKING:
    from rich.console import Console


class TrialRow(TypedDict):
    """One trial: what it set, empty for the default, and its mean score on the slice of train."""

    values: dict[str, object]
    status: str
    selection: float | None
    run_ids: list[str]


class TunedRow(TypedDict):
    """One method: its trials, which of them won (from 0; null without one), and the winner's dev average."""

    optimizer: str
    trials: list[TrialRow]
    winner: int | None
    final_run_ids: list[str]
    average: float | None


class TuningSummary(TypedDict):
    """Finished tuning; scores are fractions of 1."""

    suite: str
    profile: str
    trials: int
    seeds: list[int]
    final_seeds: list[int]
    methods: list[TunedRow]


def tuning_summary(tuner: Tuner) -> TuningSummary:
    """Methods with their trials, winners and final scores."""
    request = tuner.request
    return {
        "suite": request.matrix.suite,
        "profile": request.matrix.profile,
        "trials": request.trials,
        "seeds": list(request.matrix.seeds),
        "final_seeds": list(request.final_seeds),
        "methods": [_row(tuned) for tuned in tuner.tuned],
    }


def _row(tuned: Tuned) -> TunedRow:
    winner, final = tuned.winner, tuned.final
    return {
        "optimizer": tuned.optimizer,
        "trials": [_trial(setting) for setting in tuned.trials],
        "winner": None if winner is None else tuned.trials.index(winner),
        "final_run_ids": [] if final is None else [job.run_id for job in final.jobs],
        "average": None if final is None else final.average,
    }


def _trial(setting: Setting) -> TrialRow:
    return {
        "values": setting.values,
        "status": setting.status,
        "selection": setting.selection,
        "run_ids": [job.run_id for job in setting.jobs],
    }


def print_tuning(tuner: Tuner, console: Console) -> None:
    """A line per method: what won, what it gained on the slice of train, and its dev average on the final seeds."""
    from rich.table import Table

    request, summary = tuner.request, tuning_summary(tuner)
    runs = request.trials * len(request.matrix.seeds)
    table = Table(
        title=f"{request.trials} settings and {runs} runs for each method, chosen on the slice of train; in percent",
        title_justify="left",
    )
    for name in ("method", "winner"):
        table.add_column(name)
    for name in (
        "default (train slice)",
        "winner (train slice)",
        f"dev, seeds {','.join(map(str, request.final_seeds))}",
    ):
        table.add_column(name, justify="right")
    for row in summary["methods"]:
        trials, won = row["trials"], row["winner"]
        values = {} if won is None else trials[won]["values"]
        told = "none: no trial has a score" if won is None else " ".join(f"{k}={v}" for k, v in values.items())
        scores = [trials[0]["selection"], None if won is None else trials[won]["selection"], row["average"]]
        table.add_row(
            row["optimizer"], told or "the default", *("-" if s is None else f"{100 * s:.2f}" for s in scores)
        )
    console.print(table)
    for record in tuner.records:
        if record["status"] in ("failed", "interrupted") and record["error"]:
            console.print(f"{record['run_id']} {record['status']}: {record['error']['message']}", markup=False)
    command = f"mtbench leaderboard --tuned --suite {summary['suite']} --profile {summary['profile']}"
    console.print(f"Tests against naive and static: {command}", markup=False, soft_wrap=True)
