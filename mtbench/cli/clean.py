"""mtbench clean: frees stored stages."""

from __future__ import annotations

import typer

from mtbench.cli import common


def command(
    runs: list[str] = typer.Argument(None, help="Run ids; stages that other records also use are kept."),
    results: str = typer.Option("results", help="Where records stand."),
    store: str = typer.Option(None, help="The store to clean."),
    stage: str = typer.Option(None, help="Only stages of this name, such as encode (the largest)."),
    everything: bool = typer.Option(False, "--all", help="Stages of all records, and those that none names."),
    leftovers: bool = typer.Option(False, "--leftovers", help="Only work that was interrupted, and damaged folders."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Say what would be deleted."),
    json: bool = typer.Option(False, "--json", help="One JSON object on standard output."),
) -> None:
    """Free the stored stages of given runs. Records are never deleted."""
    from mtbench.execution.cleaning import clean

    freed = clean(runs or [], results, store, stage, everything, leftovers, dry_run)
    if json:
        common.emit_json(freed)
    else:
        verb = "would free" if dry_run else "freed"
        typer.echo(
            f"{verb} {freed['bytes'] / 1e6:.1f} MB in {len(freed['stages'])} stages; kept {freed['kept']} in use"
        )
