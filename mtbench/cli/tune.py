"""mtbench tune: methods with equal budgets, each by its best setting on seeds that chose nothing."""

from __future__ import annotations

from typing import Annotated

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


def command(
    optimizer: Optimizers,
    suite: SuiteName,
    trials: Annotated[int, typer.Option(help="Settings of each method; the first is its default.")] = 10,
    seeds: Seeds = "0,1,2",
    final_seeds: Annotated[
        str, typer.Option("--final-seeds", help="Seeds of the winners, none of --seeds: 3-7.", metavar="SEEDS")
    ] = "3-7",
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
    plugin: Plugins = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan, what is shared, and what it will cost.")
    ] = False,
    limit: Limit = None,
    json: Json = False,
) -> int:
    """Tune methods with equal budgets on a slice of train, then run each winner over fresh seeds."""
    from mtbench.execution.choose import make_executor
    from mtbench.execution.matrix import RunMatrix
    from mtbench.execution.options import ExecutionOptions, PlanOptions
    from mtbench.execution.progress import make_reporter
    from mtbench.execution.show_tuning import print_tuning, tuning_summary
    from mtbench.execution.tuning import Tuner, TuneRequest

    execution = ExecutionOptions(executor, address, gpus_per_run, max_concurrent)
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
    request = TuneRequest(matrix, trials, common.numbers(final_seeds, "--final-seeds"), execution)
    tuner = Tuner(request, PlanOptions(store, results, "failed" if resume else "missing", declared=dry_run))
    if dry_run:
        common.show_costed_plan(tuner.expected(), json)
        return 0
    reporter = make_reporter()
    try:
        with common.only_json(json):
            tuner.run(make_executor(execution, reporter))
    finally:
        reporter.close()
    if json:
        common.emit_runs(tuner.records, tuning_summary(tuner))
    else:
        print_tuning(tuner, common.out_console())
    return common.exit_code(tuner.records)
