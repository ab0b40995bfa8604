"""``mtbench new``: one file to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mtbench.cli.options import Json

app = typer.Typer(help="Write one file to start from: an optimizer or a suite.", no_args_is_help=True)


@app.command("optimizer")
def optimizer(
    name: Annotated[str, typer.Argument(help="Its name: lower case letters, digits and underscores.")],
    folder: Annotated[Path, typer.Option("--dir", help="Where to write NAME.py.")] = Path(),
    json_: Json = False,
) -> None:
    """Write NAME.py, a multitask optimizer that runs and passes its checks as it stands."""
    from mtbench.optim.new_optimizer import new_optimizer

    file = new_optimizer(name, folder)
    _written(file, f"mtbench check optimizer --file {file}", json_)


@app.command("suite")
def suite(
    name: Annotated[str, typer.Argument(help="Its name; the folder NAME is made.")],
    from_beir: Annotated[
        list[Path] | None, typer.Option("--from-beir", help="Folder in BEIR's layout, one per task; repeatable.")
    ] = None,
    more: Annotated[list[Path] | None, typer.Argument(metavar="[DIR]...", help="More folders.")] = None,
    folder: Annotated[Path, typer.Option("--dir", help="Where to make the folder NAME.")] = Path(),
    json_: Json = False,
) -> None:
    """Write NAME/suite.toml over folders of corpora, queries and judgements."""
    from mtbench.data.new_suite import scaffold_suite

    file = scaffold_suite(name, [*(from_beir or []), *(more or [])], folder)
    _written(file, f"mtbench check suite {file.parent}", json_)


def _written(file: Path, following: str, json_: bool) -> None:
    from mtbench.cli import common

    if json_:
        common.emit_json({"file": str(file), "next": following})
    else:
        typer.echo(f"wrote {file}\nnext: {following}")
