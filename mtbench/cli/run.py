"""mtbench run: the full pipeline for every combination of optimizer, suite and seed."""

from __future__ import annotations

import typer

from mtbench.cli import common


def command(
    optimizer: str = typer.Option(..., "--optimizer", "-o", help="Names, separated by commas."),
    suite: str = typer.Option(..., "--suite", "-s", help="A name, or a folder with a suite.toml."),
    seeds: str = typer.Option("0", help="0,1,2 or 0-4."),
    profile: str = typer.Option("mini", help="mini, paper, taco-code, or a TOML file."),
    set_: list[str] = typer.Option(
        [], "--set", help="KEY=VALUE: tau=2, train.lr=5e-6. Repeatable.", metavar="KEY=VALUE"
    ),
    encoder: str = typer.Option(None, help="A folder or a hub name instead of the profile's encoder."),
    executor: str = typer.Option("local", help="local or ray."),
    address: str = typer.Option(None, help="Ray's address: none for a local Ray, auto, or ray://HOST:PORT."),
    gpus_per_run: float = typer.Option(None, help="GPUs of each run under Ray; may be a fraction."),
    max_concurrent: int = typer.Option(None, help="Runs at the same time under Ray."),
    store: str = typer.Option(None, help="Where stages are kept. Default: $MTBENCH_HOME or the user's cache folder."),
    results: str = typer.Option("results", help="Where records are written."),
    rerun: str = typer.Option("missing", help="missing: what is not finished; failed: also what failed; all."),
    until: str = typer.Option(None, help="Stop after this stage (analyze goes one stage further)."),
    plugin: list[str] = typer.Option([], help="A file with an optimizer or a suite. Repeatable.", metavar="FILE.py"),
    dry_run: bool = typer.Option(False, "--dry-run", help="Print the plan: stages, what is cached, what is shared."),
    limit: int = typer.Option(None, help="At most N train and N dev queries a task; kept off leaderboards."),
    json: bool = typer.Option(False, "--json", help="One JSON object on standard output."),
) -> int:
    """Run the whole pipeline and print the scores."""
    from mtbench.execution.api import check_stage, plan_jobs
    from mtbench.execution.choose import check_executor, execute_with
    from mtbench.execution.progress import make_reporter
    from mtbench.execution.show import plan_summary, print_plan, print_records
    from mtbench.execution.work import Order, check_rerun

    check_stage(until)
    check_executor(executor, address, gpus_per_run, max_concurrent)
    order = Order(
        common.names(optimizer, "--optimizer"),
        suite,
        common.numbers(seeds, "--seeds"),
        profile,
        set_,
        encoder,
        limit,
        tuple(plugin),
    )
    with common.only_json(json):
        prepared = plan_jobs(order, store, results, check_rerun(rerun), until)
    if dry_run:
        if json:
            common.emit_json(plan_summary(prepared, until))
        else:
            print_plan(prepared, until, common.out_console())
        return 0
    reporter = make_reporter()
    try:
        with common.only_json(json):
            records = execute_with(executor, prepared, until, reporter, address, gpus_per_run, max_concurrent)
    finally:
        reporter.close()
    if json:
        common.emit_json({"runs": records})
    else:
        print_records(records, common.out_console())
    return common.exit_code(records)
