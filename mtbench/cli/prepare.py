"""mtbench prepare: fetch or check a suite's raw files and build its data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mtbench.cli import common
from mtbench.cli.options import Json, Plugins, Profile
from mtbench.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from mtbench.execution.prepare import Prepared, PreparePlan


def command(
    suite: Annotated[str, typer.Argument(help="A name (mtbench ls suites), or a folder with a suite.toml.")],
    profile: Profile = "mini",
    raw: Annotated[
        str | None,
        typer.Option(help="Folder with the official files; none of them is downloaded then.", metavar="DIR"),
    ] = None,
    store: Annotated[
        str | None, typer.Option(help="Where data are kept. Default: $MTBENCH_HOME or the user's cache folder.")
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(help="A folder or a hub name instead of the profile's encoder; a hub's files are fetched."),
    ] = None,
    reader: Annotated[
        str | None,
        typer.Option(help="A hub name of the reader that runs will have (run --reader), fetched too."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes that tokenise; default: as many as there are cores.", min=1)
    ] = None,
    plugin: Plugins = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be fetched, with sizes.")] = False,
    json: Json = False,
) -> int:
    """Fetch or check the raw files of a suite, and build its token ids and judgements."""
    from pathlib import Path

    from mtbench.execution.prepare import PrepareRequest, plan_prepare, prepare_suite
    from mtbench.execution.progress import make_reporter
    from mtbench.registry import add_plugin_files
    from mtbench.storage.places import expanded

    add_plugin_files(plugin or [])
    folder = expanded(raw) if raw is not None else None
    if folder is not None and not (raw and folder.is_dir()):
        raise UsageError(f"--raw {raw!r}: no such folder")
    request = PrepareRequest(suite, profile, folder, Path(store) if store else None, encoder, workers, reader)
    if dry_run:
        plan = plan_prepare(request)
        common.emit_json(plan) if json else _print_plan(plan, common.out_console())
        return 0
    if not json and request.needs_files:
        _print_plan(plan_prepare(request), common.err_console())
    reporter = make_reporter()
    try:
        result = prepare_suite(request, reporter)
    finally:
        reporter.close()
    common.emit_json(result) if json else _print_result(result)
    return 0


def _print_plan(plan: PreparePlan, console: Console) -> None:
    models = {"encoder": plan["encoder"], "reader": plan.get("reader", plan["encoder"])}
    for what, model in models.items():
        if model["state"] == "fetch" and (what == "encoder" or "reader" in plan):
            console.print(f"  fetch      size unknown  {what} {model['name']}, from the hub", markup=False)
    if not plan["files"]:
        console.print(f"{plan['suite']}: no official files are needed", markup=False)
        return
    for file in plan["files"]:
        size = f"{file['bytes'] / 1e6:10,.1f} MB" if file["bytes"] else "  size unknown"
        console.print(f"  {file['state']:<9}{size}  {file['path']}", markup=False)
    missing = [file for file in plan["files"] if file["state"] in ("missing", "by hand")]
    if missing:
        count = f"{len(missing)} file{'s' * (len(missing) > 1)}"
        console.print(f"{plan['suite']}: {count} must be put into {plan['folder']}", markup=False)
    if missing and not plan["bytes_to_fetch"]:
        return
    console.print(f"{plan['suite']}: {plan['bytes_to_fetch'] / 1e9:.2f} GB of known size to fetch", markup=False)


def _print_result(result: Prepared) -> None:
    console = common.out_console()
    state = "ready already" if result["reused"] else f"built in {result['seconds']:.1f} s"
    console.print(f"{result['suite']}: {state}", markup=False)
    for name, corpus in result["corpora"].items():
        numbers = f"{corpus['passages']:,} passages, {corpus['pages']:,} pages, {corpus['tokens']:,} tokens"
        console.print(f"  corpus {name}: {numbers}", markup=False)
    for name, task in result["tasks"].items():
        console.print(f"  task {name}: {task['train']:,} train, {task['dev']:,} dev queries", markup=False)
    for place, counts in result["notes"].items():
        for what, count in counts.items():
            console.print(f"  note: {place}: {count:,} {what}", markup=False)
