"""A sweep's outcome for people and as plain values."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, NotRequired, TypedDict

from mtbench.execution.sweep_plan import Setting, Sweep
from mtbench.records.record import RunRecord
from mtbench.records.values import Params
from mtbench.storage.places import default_results

if TYPE_CHECKING:
    from rich.console import Console


class SettingRow(TypedDict):
    """One setting: its swept ``values``, what it reached on the slice of train, and on dev."""

    optimizer: str
    values: dict[str, object]
    params: Params
    seeds: list[int]
    run_ids: list[str]
    status: str
    selection: float | None
    selection_sd: float | None
    average: float | None
    task_specific: NotRequired[float]
    """Share of the parameters, where the settings were analysed."""


class BestRow(SettingRow):
    """The best setting and the command that runs it by itself."""

    command: str


class SweepSummary(TypedDict):
    """A finished sweep; scores are fractions of 1."""

    suite: str
    profile: str
    metric: str
    chosen_on: str
    trials: int
    settings: list[SettingRow]
    tied: int
    best: BestRow | None
    runs: list[RunRecord]


def sweep_summary(sweep: Sweep) -> SweepSummary:
    """Settings with their scores, the best one and the command that runs it; fractions of 1."""
    best = sweep.best()
    return {
        "suite": sweep.request.matrix.suite,
        "profile": sweep.request.matrix.profile,
        "metric": sweep.settings[0].jobs[0].plan.run.suite.metric,
        "chosen_on": "selection: a slice of train that is never trained on",
        "trials": len(sweep.settings),
        "settings": [_plain(setting) for setting in sweep.settings],
        "tied": len(sweep.tied()),
        "best": {**_plain(best), "command": command_for(sweep, best)} if best else None,
        "runs": [record for setting in sweep.settings for record in setting.records],
    }


def _plain(setting: Setting) -> SettingRow:
    row: SettingRow = {
        "optimizer": setting.optimizer,
        "values": setting.values,
        "params": setting.jobs[0].plan.run.optimizer["params"],
        "seeds": [job.plan.run.request.seed for job in setting.jobs],
        "run_ids": [job.run_id for job in setting.jobs],
        "status": setting.status,
        "selection": setting.selection,
        "selection_sd": setting.selection_spread,
        "average": setting.average,
    }
    if setting.task_specific is not None:
        row["task_specific"] = setting.task_specific
    return row


def command_for(sweep: Sweep, setting: Setting) -> str:
    """The command that runs one setting by itself."""
    matrix = sweep.request.matrix
    words = ["mtbench", "run", "--optimizer", setting.optimizer, "--suite", matrix.suite]
    words += [] if matrix.profile == "mini" else ["--profile", matrix.profile]
    words += [] if sweep.planned.results == default_results().absolute() else ["--results", str(sweep.planned.results)]
    words += [] if list(matrix.seeds) == [0] else ["--seeds", ",".join(map(str, matrix.seeds))]
    words += [] if matrix.encoder is None else ["--encoder", matrix.encoder]
    words += [] if matrix.limit is None else ["--limit", str(matrix.limit)]
    for plugin in matrix.plugins:
        words += ["--plugin", plugin]
    kept = [item for item in matrix.assignments if item.partition("=")[0].strip() not in setting.values]
    for item in [*kept, *(f"{key}={value}" for key, value in setting.values.items())]:
        words += ["--set", item]
    return shlex.join(words)


def print_sweep(sweep: Sweep, console: Console) -> None:
    """The table of all settings, then the best one."""
    from rich.table import Table

    keys = list(dict.fromkeys(key for setting in sweep.settings for key in setting.values))
    best = sweep.best()
    plan = sweep.settings[0].jobs[0].plan.run
    title = f"{plan.suite.name}@{plan.suite.version}, {plan.suite.metric} in percent, {len(sweep.settings)} settings"
    table = Table(title=title, title_justify="left")
    table.add_column("optimizer", no_wrap=True)
    analysed = any(setting.task_specific is not None for setting in sweep.settings)
    names = [*keys, "seeds", "selection (train slice)", "dev average", *(["task specific"] if analysed else [])]
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for setting in sweep.settings:
        mark = "best" if setting is best else "" if setting.status == "complete" else setting.status
        values = [str(setting.values.get(key, "-")) for key in keys]
        scores = [_percent(setting.selection, setting.selection_spread), _percent(setting.average, None)]
        scores += [_percent(setting.task_specific, None)] if analysed else []
        table.add_row(setting.optimizer, *values, str(len(setting.jobs)), *scores, mark)
    console.print(table)
    for setting in sweep.settings:
        for record in setting.records:
            if record["status"] in ("failed", "interrupted") and record["error"]:
                console.print(f"{record['run_id']} {record['status']}: {record['error']['message']}", markup=False)
    if best is None:
        console.print(
            "No best setting: no run has a score on the slice of train (too few training queries, or none ran)."
        )
        return
    tied = sweep.tied()
    if len(tied) > 1:
        console.print(
            f"{len(tied)} settings tie on the slice of train: it cannot tell them apart; "
            "the one nearest to the defaults is kept."
        )
    console.print(f"Best on the slice of train: {best.optimizer} {_describe(best)}. Run it by itself with:")
    console.print(f"  {command_for(sweep, best)}", markup=False, soft_wrap=True)


def _describe(setting: Setting) -> str:
    return ", ".join(f"{key}={value}" for key, value in setting.values.items())


def _percent(value: float | None, spread: float | None) -> str:
    if value is None:
        return "-"
    return f"{100 * value:.2f}" + (f" ± {100 * spread:.2f}" if spread is not None else "")
