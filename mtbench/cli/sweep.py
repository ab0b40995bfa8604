"""mtbench sweep: many settings of optimizers and pipeline, each shared stage computed once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from mtbench.cli import common

if TYPE_CHECKING:
    from mtbench.execution.api import Prepared
    from mtbench.execution.sweeping import Sweep


def command(
    optimizer: str = typer.Option(..., "--optimizer", "-o", help="Names, separated by commas."),
    suite: str = typer.Option(..., "--suite", "-s", help="A name, or a folder with a suite.toml."),
    grid: list[str] = typer.Option(
        [], "--grid", help="KEY=V1,V2,...; with --trials also KEY=LOW:HIGH[:log]. Repeatable.", metavar="KEY=VALUES"
    ),
    lines: bool = typer.Option(False, "--lines", help="Vary one key at a time around the defaults, not the product."),
    trials: int = typer.Option(None, help="Draw so many settings instead of trying all."),
    sampler: str = typer.Option("random", help="random, or optuna (pip install optuna)."),
    scheduler: str = typer.Option("none", help="none, or asha: stop weak settings early; episodes are its rungs."),
    seeds: str = typer.Option("0", help="0,1,2 or 0-4."),
    profile: str = typer.Option("mini", help="mini, paper, taco-code, or a TOML file."),
    set_: list[str] = typer.Option([], "--set", help="KEY=VALUE for every setting. Repeatable.", metavar="KEY=VALUE"),
    encoder: str = typer.Option(None, help="A folder or a hub name instead of the profile's encoder."),
    executor: str = typer.Option("ray", help="ray (Ray Tune) or local (one run after the other)."),
    address: str = typer.Option(None, help="Ray's address: none for a local Ray, auto, or ray://HOST:PORT."),
    gpus_per_run: float = typer.Option(None, help="GPUs of each run; may be a fraction."),
    max_concurrent: int = typer.Option(None, help="Runs at the same time under Ray."),
    store: str = typer.Option(None, help="Where stages are kept. Default: $MTBENCH_HOME or the user's cache folder."),
    results: str = typer.Option("results", help="Where records are written."),
    resume: bool = typer.Option(
        False, "--resume", help="Also run again what failed. (What is missing or interrupted always goes on.)"
    ),
    plugin: list[str] = typer.Option([], help="A file with an optimizer or a suite. Repeatable.", metavar="FILE.py"),
    figure: str = typer.Option(None, help="Where the figure goes (png, pdf, svg). Default: RESULTS/figures/."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Print the plan, what is shared, and what it will cost."),
    limit: int = typer.Option(None, help="At most N train and N dev queries a task; kept off leaderboards."),
    json: bool = typer.Option(False, "--json", help="One JSON object on standard output."),
) -> int:
    """Try many settings, choose on a slice of train (never on dev), and print the table and the best setting."""
    from mtbench.execution.choose import check_executor, execute_with
    from mtbench.execution.grid import parse_axes
    from mtbench.execution.progress import make_reporter
    from mtbench.execution.show_sweep import print_sweep, sweep_summary
    from mtbench.execution.sweeping import SweepOrder, check_scheduler, plan_sweep, run_sweep
    from mtbench.execution.work import Order, check_rerun

    check_executor(executor, address, gpus_per_run, max_concurrent)
    check_scheduler(scheduler, executor)
    order = SweepOrder(
        Order(
            common.names(optimizer, "--optimizer"),
            suite,
            common.numbers(seeds, "--seeds"),
            profile,
            set_,
            encoder,
            limit,
            tuple(plugin),
            baselines=(),
        ),
        tuple(parse_axes(grid)),
        lines,
        trials,
        sampler,
        scheduler,
    )
    rerun = check_rerun("failed" if resume else "missing")
    if dry_run:
        return _dry_run(plan_sweep(order, store, results, rerun).prepared, json)
    reporter = make_reporter()

    def execute(prepared: Prepared) -> list[dict[str, Any]]:
        return execute_with(executor, prepared, None, reporter, address, gpus_per_run, max_concurrent, scheduler)

    try:
        with common.only_json(json):
            sweep = run_sweep(order, store, results, rerun, execute, max_concurrent or 4)
    finally:
        reporter.close()
    drawn = [_draw(sweep, name, figure) for name in common.names(optimizer, "--optimizer")]
    if json:
        common.emit_json({**sweep_summary(sweep), "figures": [path for path, _ in drawn if path]})
    else:
        print_sweep(sweep, common.out_console())
        for _, text in drawn:
            common.out_console().print(text, markup=False, soft_wrap=True)
    return common.exit_code([record for setting in sweep.settings for record in setting.records])


def _draw(sweep: Sweep, optimizer: str, figure: str | None) -> tuple[str | None, str]:
    """The figure of one optimizer's settings, or why there is none."""
    from pathlib import Path

    from mtbench.errors import MtbenchError
    from mtbench.report.leaderboard import load_board
    from mtbench.report.plots import default_path, plot

    spec = sweep.settings[0].jobs[0].plan.run.specification
    results = sweep.prepared.results
    try:
        board = load_board(results, f"{spec['suite']}@{spec['suite_version']}", spec["profile"], summary=False)
        path = Path(figure) if figure else default_path(results, board, "sweep", optimizer, "png")
        plot(board, "sweep", path, optimizer=optimizer)
    except MtbenchError as error:
        return None, f"No figure of {optimizer}: {str(error).splitlines()[0]}"
    return str(path), f"Figure of {optimizer}: {path}"


def _dry_run(prepared: Prepared, json: bool) -> int:
    from mtbench.execution.show import plan_summary, print_plan
    from mtbench.execution.show_estimate import estimate_summary, print_estimate

    if json:
        common.emit_json({**plan_summary(prepared, None), **estimate_summary(prepared)})
    else:
        print_plan(prepared, None, common.out_console())
        print_estimate(prepared, common.out_console())
    return 0
