"""mtbench clean: frees stored stages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mtbench.cli import common
from mtbench.cli.options import Json
from mtbench.errors import UsageError


def command(
    runs: Annotated[
        list[str] | None, typer.Argument(help="Run ids; stages that other records also use are kept.")
    ] = None,
    results: Annotated[Path | None, typer.Option(help="Where records stand; default: results.")] = None,
    store: Annotated[str | None, typer.Option(help="The store to clean.")] = None,
    stage: Annotated[str | None, typer.Option(help="Only stages of this name, such as encode (the largest).")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Stages of all records, and those that none names.")
    ] = False,
    leftovers: Annotated[
        bool, typer.Option("--leftovers", help="Only work that was interrupted, and damaged folders.")
    ] = False,
    records: Annotated[
        str | None, typer.Option(help="failed: delete the records of failed runs, and nothing in the store.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be deleted.")] = False,
    json: Json = False,
) -> None:
    """Free the stored stages of given runs, or delete the records of failed ones (--records failed), no others."""
    from mtbench.execution.cleaning import CleanRequest, clean, clean_records
    from mtbench.storage.places import committed_results

    if records is not None:
        if runs or stage or everything or leftovers:
            raise UsageError(
                "--records deletes records and no stages: leave run ids, --stage, --all and --leftovers out"
            )
        gone = clean_records(records, results or committed_results(), dry_run)
        if json:
            common.emit_json({"records": gone})
        else:
            typer.echo(f"{'would delete' if dry_run else 'deleted'} {len(gone)} records of failed runs")
            for run in gone:
                typer.echo(f"  {run}")
        return
    freed = clean(
        CleanRequest(runs or [], stage, everything, leftovers), results or committed_results(), store, dry_run
    )
    if json:
        common.emit_json(freed)
    else:
        verb = "would free" if dry_run else "freed"
        typer.echo(
            f"{verb} {freed['bytes'] / 1e6:.1f} MB in {len(freed['stages'])} stages; kept {freed['kept']} in use"
        )
