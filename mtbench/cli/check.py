"""``mtbench check``: does an optimizer keep its promises, do a suite's data hold together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Protocol

import typer

from mtbench.cli.options import Json, Plugins
from mtbench.errors import UsageError

app = typer.Typer(help="Check an optimizer or a suite: a line per check, exit 1 if one fails.", no_args_is_help=True)


@app.command("optimizer")
def optimizer(
    name: Annotated[str | None, typer.Argument(help="A registered name.", show_default=False)] = None,
    file: Annotated[Path | None, typer.Option(help="A plugin file; its only optimizer unless NAME is given.")] = None,
    plugin: Plugins = None,
    json_: Json = False,
) -> None:
    """Try an optimizer on small gradients, on the CPU, in seconds."""
    if name is None and file is None:
        raise UsageError("give a NAME or --file FILE.py")
    from mtbench.cli.common import only_json
    from mtbench.optim.conformance import check_optimizer
    from mtbench.registry import add_plugin_files

    add_plugin_files(plugin or [])
    with only_json(json_):
        checks = check_optimizer(name, file)
    _show(name or str(file), checks, json_)


@app.command("suite")
def suite(
    name: Annotated[str, typer.Argument(metavar="NAME-or-PATH", help="A registered name or a folder with suite.toml.")],
    profile: Annotated[str, typer.Option(help="mini or paper; a folder's data are the same in both.")] = "mini",
    raw: Annotated[Path | None, typer.Option(help="Folder of downloaded raw files (profile paper).")] = None,
    plugin: Plugins = None,
    json_: Json = False,
) -> None:
    """Read all of a suite's data and try its metric on them."""
    from mtbench.config import load_profile
    from mtbench.data.checks import check_suite
    from mtbench.evaluation.metrics import evaluate_task
    from mtbench.registry import add_plugin_files

    add_plugin_files(plugin or [])
    load_profile(profile)  # a mistake of the caller, not of the suite
    _show(name, check_suite(name, profile, evaluate=evaluate_task, raw=raw), json_)


class Check(Protocol):
    """One promise of an optimizer, or one rule about data: whether it holds, and a sentence that says so."""

    @property
    def name(self) -> str: ...
    @property
    def ok(self) -> bool: ...
    @property
    def sentence(self) -> str: ...


def _show(subject: str, checks: Sequence[Check], json_: bool) -> None:
    """A line per check; Exit(1) if one failed."""
    from mtbench.cli import common

    failed = [check for check in checks if not check.ok]
    if json_:
        rows = [{"name": c.name, "ok": c.ok, "sentence": c.sentence} for c in checks]
        common.emit_json({"subject": subject, "ok": not failed, "checks": rows})
    else:
        width = max((len(check.name) for check in checks), default=0)
        for check in checks:
            typer.echo(f"{'ok  ' if check.ok else 'FAIL'}  {check.name:<{width}}  {check.sentence}")
        typer.echo(f"{subject}: {len(checks) - len(failed)} of {len(checks)} checks hold", err=True)
    if failed:
        raise typer.Exit(1)
