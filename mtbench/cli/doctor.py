"""mtbench doctor: versions, devices, the store, and what is wrong with the installation."""

from __future__ import annotations

import typer

from mtbench.cli import common


def command(
    store: str = typer.Option(None, help="The store to look at."),
    address: str = typer.Option(None, help="A Ray cluster to look at: auto or ray://HOST:PORT."),
    json: bool = typer.Option(False, "--json", help="One JSON object on standard output."),
) -> int:
    """Check the installation; exit code 1 if something is wrong."""
    from mtbench.execution.health import examine

    facts = examine(store, address)
    if json:
        common.emit_json(facts)
    else:
        for key, value in facts.items():
            if key != "problems":
                typer.echo(f"{key}: {value}")
        for problem in facts["problems"]:
            typer.echo(f"PROBLEM: {problem}")
        if not facts["problems"]:
            typer.echo("no problem found")
    return 1 if facts["problems"] else 0
