"""``mtbench leaderboard``: tables from finished runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mtbench.cli.options import Baseline, FinishedProfile, Metric, Plugins, Results
from mtbench.errors import UsageError

_FORMATS = ("terminal", "md", "csv", "tex", "html", "json")


def command(
    suite: Annotated[
        str | None, typer.Option(help="Suite, or its folder; default: kilt, with --layout the layout's own.")
    ] = None,
    profile: FinishedProfile = "mini",
    metric: Metric = None,
    baseline: Baseline = "naive",
    format: Annotated[str, typer.Option(help=f"One of {', '.join(_FORMATS)}.")] = "terminal",
    layout: Annotated[
        str | None,
        typer.Option(
            help="A paper's table, ours beside the published: taco-table1|2|3|4|7|8|9, mtdpr-table3|4|5|6|7|8."
        ),
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="With --layout: the line that the others are tested against.")
    ] = None,
    published: Annotated[bool, typer.Option("--published", help="Add the papers' rows.")] = False,
    write: Annotated[
        bool,
        typer.Option("--write", help="Write every format below RESULTS/leaderboards; update the README."),
    ] = False,
    results: Results = None,
    readme: Annotated[
        Path | None, typer.Option(help="File whose leaderboard block --write updates; default: README.md.")
    ] = None,
    plugin: Plugins = None,
    json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Rank the finished runs of a suite, with intervals, tests and costs."""
    from mtbench.cli.common import err_console, out_console
    from mtbench.report.leaderboard import load_board
    from mtbench.report.tables import print_board, render
    from mtbench.storage.places import committed_results

    format = "json" if json else format
    if format not in _FORMATS:
        raise UsageError(f"unknown format {format!r}: one of {', '.join(_FORMATS)}")
    if readme is not None and not readme.is_file():
        raise UsageError(f"--readme {readme}: no such file")
    if plugin:
        from mtbench.registry import add_plugin_files

        add_plugin_files(plugin)
    folder = results or committed_results()
    if layout is not None:
        given = {"--metric": metric, "--write": write, "--published": published}
        unfit = [name for name, value in given.items() if value]
        if unfit:
            raise UsageError(f"a layout has its own metrics, rows and file: leave {' and '.join(unfit)} out")
        _print_layout(folder, layout, format, profile, suite, reference)
        return
    if reference is not None:
        raise UsageError("--reference belongs to --layout: --baseline is what a board measures gains against")
    board = load_board(folder, suite or "kilt", profile, metric=metric, baseline=baseline, published=published)
    if write:
        from mtbench.report.writing import write_board

        written = write_board(board, folder, readme or Path("README.md"))
        for path in written:
            err_console().print(f"wrote {path}", markup=False, highlight=False)
        if readme is not None and readme not in written:
            mark = f"<!-- leaderboard:{board.suite}:begin -->"
            err_console().print(f"{readme} has no leaderboard block ({mark})", markup=False, highlight=False)
    if format == "terminal":
        print_board(board, out_console())
    else:
        typer.echo(render(board, format), nl=False)


def _print_layout(folder: Path, name: str, format: str, profile: str, suite: str | None, reference: str | None) -> None:
    from mtbench.cli.common import out_console
    from mtbench.report.layout_table import load_layout
    from mtbench.report.layout_text import print_layout, render_layout
    from mtbench.report.layouts import layout

    filled = load_layout(folder, layout(name), profile, suite=suite, reference=reference)
    if format == "terminal":
        print_layout(filled, out_console())
    else:
        typer.echo(render_layout(filled, format), nl=False)
