"""mtbench clean: frees stored stages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mtbench.cli import common
from mtbench.cli.options import Json


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
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be deleted.")] = False,
    json: Json = False,
) -> None:
    """Free the stored stages of given runs. Records are never deleted."""
    from mtbench.execution.cleaning import CleanRequest, clean
    from mtbench.storage.places import committed_results

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
