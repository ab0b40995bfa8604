"""mtbench doctor: versions, devices, the store, and what is wrong with the installation."""

from __future__ import annotations

from typing import Annotated

import typer

from mtbench.cli import common
from mtbench.cli.options import Json


def command(
    store: Annotated[str | None, typer.Option(help="The store to look at.")] = None,
    address: Annotated[str | None, typer.Option(help="A Ray cluster to look at: auto or ray://HOST:PORT.")] = None,
    json: Json = False,
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
