"""mtbench run: the full pipeline for every combination of optimizer, suite and seed."""

from __future__ import annotations

from typing import Annotated

import typer

from mtbench.cli import common


def command(
    optimizer: Annotated[str, typer.Option("--optimizer", "-o", help="Names, separated by commas.")],
    suite: Annotated[str, typer.Option("--suite", "-s", help="A name, or a folder with a suite.toml.")],
    seeds: Annotated[str, typer.Option(help="0,1,2 or 0-4.")] = "0",
    profile: Annotated[str, typer.Option(help="mini, paper, taco-code, or a TOML file.")] = "mini",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE: tau=2, train.lr=5e-6. Repeatable.", metavar="KEY=VALUE"),
    ] = None,
    encoder: Annotated[
        str | None, typer.Option(help="A folder or a hub name instead of the profile's encoder.")
    ] = None,
    executor: Annotated[str, typer.Option(help="local or ray.")] = "local",
    address: Annotated[
        str | None, typer.Option(help="Ray's address: none for a local Ray, auto, or ray://HOST:PORT.")
    ] = None,
    gpus_per_run: Annotated[float | None, typer.Option(help="GPUs of each run under Ray; may be a fraction.")] = None,
    max_concurrent: Annotated[int | None, typer.Option(help="Runs at the same time under Ray.")] = None,
    store: Annotated[
        str | None,
        typer.Option(help="Where stages are kept. Default: $MTBENCH_HOME or the user's cache folder."),
    ] = None,
    results: Annotated[str, typer.Option(help="Where records are written.")] = "results",
    rerun: Annotated[
        str, typer.Option(help="missing: what is not finished; failed: also what failed; all.")
    ] = "missing",
    until: Annotated[str | None, typer.Option(help="Stop after this stage (analyze goes one stage further).")] = None,
    plugin: Annotated[
        list[str] | None,
        typer.Option(help="A file with an optimizer or a suite. Repeatable.", metavar="FILE.py"),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan: stages, what is cached, what is shared.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option(help="At most N train and N dev queries a task; kept off leaderboards.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> int:
    """Run the whole pipeline and print the scores."""
    from mtbench.execution.choose import make_executor
    from mtbench.execution.matrix import RunMatrix
    from mtbench.execution.options import ExecutionOptions, PlanOptions
    from mtbench.execution.planned import plan_runs
    from mtbench.execution.progress import make_reporter
    from mtbench.execution.show import plan_summary, print_plan, print_records

    options = PlanOptions(store, results, rerun, until)
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
    )
    with common.only_json(json):
        planned = plan_runs(matrix, options)
    if dry_run:
        common.emit_json(plan_summary(planned)) if json else print_plan(planned, common.out_console())
        return 0
    reporter = make_reporter()
    try:
        with common.only_json(json):
            records = make_executor(execution, reporter).run(planned)
    finally:
        reporter.close()
    common.emit_json({"runs": records}) if json else print_records(records, common.out_console())
    return common.exit_code(records)
