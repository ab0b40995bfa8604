"""mtbench run: the full pipeline for every combination of optimizer, suite and seed."""

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
    seeds: Seeds = "0",
    profile: Profile = "mini",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE: tau=2, train.lr=5e-6. Repeatable.", metavar="KEY=VALUE"),
    ] = None,
    encoder: Encoder = None,
    protocol: Annotated[
        str, typer.Option(help="multitask, per-task, leave-one-out, few-shot, fused; several with commas.")
    ] = "multitask",
    tasks: Annotated[str | None, typer.Option(help="Of a protocol with a run for each task: only these.")] = None,
    examples: Annotated[str | None, typer.Option(help="few-shot: numbers of examples, as 128,1024.")] = None,
    start: Annotated[
        str | None, typer.Option(help="few-shot: leave-one-out,encoder; per-task: encoder,warmup.")
    ] = None,
    fusion: Annotated[str | None, typer.Option(help="fused: uniform, deviation.")] = None,
    executor: Annotated[str, typer.Option(help="local or ray.")] = "local",
    address: Address = None,
    gpus_per_run: GpusPerRun = None,
    max_concurrent: MaxConcurrent = None,
    store: StorePlace = None,
    results: RecordsPlace = None,
    rerun: Annotated[
        str, typer.Option(help="missing: what is not finished; failed: also what failed; all.")
    ] = "missing",
    until: Annotated[str | None, typer.Option(help="Stop after this stage (analyze goes one stage further).")] = None,
    plugin: Plugins = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan: stages, what is cached, what is shared.")
    ] = False,
    limit: Limit = None,
    reader: Annotated[
        bool, typer.Option("--reader", help="Answer from what is retrieved; rows: closed book, gold passages, BM25.")
    ] = False,
    json: Json = False,
) -> int:
    """Run the whole pipeline and print the scores."""
    from mtbench.execution.choose import make_executor
    from mtbench.execution.matrix import RunMatrix
    from mtbench.execution.options import ExecutionOptions, PlanOptions
    from mtbench.execution.planned import plan_runs
    from mtbench.execution.progress import make_reporter
    from mtbench.execution.show import plan_summary, print_plan, print_remarks
    from mtbench.execution.show_estimate import estimate_summary, print_estimate
    from mtbench.protocols.expand import ProtocolChoice

    options = PlanOptions(store, results, rerun, until, declared=dry_run)
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
        protocol=ProtocolChoice(
            common.names(protocol, "--protocol"),
            common.names(tasks, "--tasks") if tasks is not None else (),
            common.numbers(examples, "--examples") if examples is not None else (),
            common.names(start, "--start") if start is not None else (),
            common.names(fusion, "--fusion") if fusion is not None else (),
        ),
        reader=reader,
    )
    with common.only_json(json):
        planned = plan_runs(matrix, options)
    if dry_run:
        if json:
            common.emit_json({**plan_summary(planned), **estimate_summary(planned)})
        else:
            print_plan(planned, common.out_console())
            print_estimate(planned, common.out_console())
        return 0
    reporter = make_reporter()
    try:
        with common.only_json(json):
            records = make_executor(execution, reporter).run(planned)
    finally:
        reporter.close()
    if json:
        common.emit_runs(records, {"runs": records})
    else:
        from mtbench.report.finished import print_finished, print_whereabouts

        console = common.out_console()
        print_finished(records, planned.results, console)
        print_remarks(records, console)
        print_whereabouts(records, planned.results, console)
    return common.exit_code(records)
