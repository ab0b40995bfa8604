"""mtbench sweep: many settings of optimizers and pipeline, each shared stage computed once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mtbench.cli import common
from mtbench.cli.options import (
    Address,
    Encoder,
    GpusPerRun,
    Json,
    Limit,
    MaxConcurrent,
    Optimizers,
    Plugins,
    Profile,
    RecordsPlace,
    Seeds,
    StorePlace,
    SuiteName,
)

if TYPE_CHECKING:
    from mtbench.execution.sweep_plan import Sweep


def command(
    optimizer: Optimizers,
    suite: SuiteName,
    grid: Annotated[
        list[str] | None,
        typer.Option(
            "--grid",
            help="KEY=V1,V2,... (numbers per task: KEY=V1;V2); with --trials also KEY=LOW:HIGH[:log]. Repeatable.",
            metavar="KEY=VALUES",
        ),
    ] = None,
    lines: Annotated[
        bool, typer.Option("--lines", help="Vary one key at a time around the defaults, not the product.")
    ] = False,
    trials: Annotated[int | None, typer.Option(help="Draw so many settings instead of trying all.")] = None,
    sampler: Annotated[str, typer.Option(help="random, or optuna (pip install optuna).")] = "random",
    scheduler: Annotated[
        str, typer.Option(help="none, or asha: stop weak settings early; episodes are its rungs.")
    ] = "none",
    seeds: Seeds = "0",
    profile: Profile = "mini",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE for every setting. Repeatable.", metavar="KEY=VALUE"),
    ] = None,
    encoder: Encoder = None,
    executor: Annotated[str, typer.Option(help="ray (Ray Tune) or local (one run after the other).")] = "ray",
    address: Address = None,
    gpus_per_run: GpusPerRun = None,
    max_concurrent: MaxConcurrent = None,
    store: StorePlace = None,
    results: RecordsPlace = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Also run again what failed. (What is missing or interrupted always goes on.)"),
    ] = False,
    until: Annotated[
        str | None, typer.Option(help="analyze: also how specialised each setting's parameters are.")
    ] = None,
    plugin: Plugins = None,
    figure: Annotated[
        str | None, typer.Option(help="Where the figure goes (png, pdf, svg). Default: RESULTS/figures/.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan, what is shared, and what it will cost.")
    ] = False,
    limit: Limit = None,
    json: Json = False,
) -> int:
    """Try many settings, choose on a slice of train (never on dev), and print the table and the best setting."""
    from mtbench.execution.choose import make_executor
    from mtbench.execution.grid import parse_axes
    from mtbench.execution.matrix import RunMatrix
    from mtbench.execution.options import ExecutionOptions, PlanOptions
    from mtbench.execution.progress import make_reporter
    from mtbench.execution.sweep_plan import SweepRequest, plan_sweep
    from mtbench.execution.sweeping import run_sweep

    execution = ExecutionOptions(executor, address, gpus_per_run, max_concurrent, scheduler)
    matrix = RunMatrix(
        common.names(optimizer, "--optimizer"),
        suite,
        common.numbers(seeds, "--seeds"),
        profile,
        set_ or (),
        encoder,
        limit,
        tuple(plugin or ()),
        baselines=(),
    )
    axes = parse_axes(grid or (), matrix.per_task_keys())
    request = SweepRequest(matrix, tuple(axes), lines, trials, sampler, execution)
    options = PlanOptions(store, results, "failed" if resume else "missing", until, declared=dry_run)
    if dry_run:
        common.show_costed_plan(plan_sweep(request, options).planned, json)
        return 0
    reporter = make_reporter()
    try:
        with common.only_json(json):
            sweep = run_sweep(request, options, make_executor(execution, reporter))
    finally:
        reporter.close()
    _show(sweep, figure, json)
    return common.exit_code(record for setting in sweep.settings for record in setting.records)


def _show(sweep: Sweep, figure: str | None, json: bool) -> None:
    """The table of settings and a figure of each optimizer."""
    from mtbench.execution.show_sweep import print_sweep, sweep_summary

    drawn = [_draw(sweep, name, figure) for name in sweep.request.matrix.optimizers]
    if json:
        records = [record for setting in sweep.settings for record in setting.records]
        common.emit_runs(records, {**sweep_summary(sweep), "figures": [path for path, _ in drawn if path]})
        return
    print_sweep(sweep, common.out_console())
    for _, text in drawn:
        common.out_console().print(text, markup=False, soft_wrap=True)


def _draw(sweep: Sweep, optimizer: str, figure: str | None) -> tuple[str | None, str]:
    """The figure of one optimizer's settings, or why there is none."""
    from pathlib import Path

    from mtbench.errors import MtbenchError
    from mtbench.report.leaderboard import load_board
    from mtbench.report.plots import FigureRequest, default_path, plot

    spec = sweep.settings[0].jobs[0].plan.run.specification
    results = sweep.planned.results
    try:
        board = load_board(results, f"{spec['suite']}@{spec['suite_version']}", spec["profile"], summary=False)
        path = Path(figure) if figure else default_path(results, board, "sweep", optimizer, "png")
        plot(board, FigureRequest("sweep", optimizer), path)
    except MtbenchError as error:
        return None, f"No figure of {optimizer}: {str(error).splitlines()[0]}"
    return str(path), f"Figure of {optimizer}: {path}"
