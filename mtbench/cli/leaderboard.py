"""``mtbench leaderboard``: tables from finished runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mtbench.cli.options import Baseline, FinishedProfile, Metric, Plugins, Results
from mtbench.errors import UsageError

if TYPE_CHECKING:
    from mtbench.report.board import Board

_FORMATS = ("terminal", "md", "csv", "tex", "html", "json")


def command(
    suite: Annotated[
        str | None,
        typer.Option(help="Suite; default: the only one with records, or kilt; with --layout the layout's own."),
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
        str | None,
        typer.Option(help="A row that all others, of whatever configuration, are tested against; a layout's line."),
    ] = None,
    protocol: Annotated[
        str, typer.Option(help="Whose rows: multitask (with per-task), leave-one-out, few-shot, ..., or all.")
    ] = "multitask",
    view: Annotated[str, typer.Option(help="board, or matrix: trained on one task, scored on each.")] = "board",
    published: Annotated[bool, typer.Option("--published", help="Add the papers' rows.")] = False,
    downstream: Annotated[
        bool, typer.Option("--downstream", help="Retrieval and the answers of run --reader side by side.")
    ] = False,
    tuned: Annotated[
        bool, typer.Option("--tuned", help="The winners of mtbench tune, each with the same budget.")
    ] = False,
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
    from mtbench.records.files import suite_meant
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
    suite = suite_meant(folder, suite)
    if downstream:
        given = {"--metric": metric, "--write": write, "--reference": reference, "--view": view != "board"}
        unfit = [name for name, value in given.items() if value]
        if unfit or protocol != "multitask":
            raise UsageError(f"--downstream has a table of its own: leave {' and '.join(unfit or ['--protocol'])} out")
        _print_answers(folder, suite, profile, baseline, published, format)
        return
    check_view(view, protocol)
    if tuned:
        given = {"--write": write, "--reference": reference, "--published": published, "--view": view != "board"}
        unfit = [name for name, value in given.items() if value]
        if unfit or protocol != "multitask":
            raise UsageError(f"--tuned is a board of its own: leave {' and '.join(unfit or ['--protocol'])} out")
        _print_tuned(folder, suite, profile, metric, baseline, format)
        return
    if view == "matrix":
        _print_matrix(load_board(folder, suite, profile, metric=metric, protocol="per-task"), format, published)
        return
    board = load_board(
        folder,
        suite,
        profile,
        metric=metric,
        baseline=baseline,
        published=published,
        protocol=protocol,
        reference=reference,
    )
    if write and (protocol != "multitask" or reference is not None):
        raise UsageError("--write writes the main board: leave --protocol and --reference out")
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


def check_view(view: str, protocol: str) -> None:
    """UsageError for a view or a protocol that there is not."""
    from mtbench.errors import UnknownNameError
    from mtbench.protocols.catalogue import PROTOCOLS
    from mtbench.report.folding import ALL

    if view not in ("board", "matrix"):
        raise UsageError(f"--view {view!r}: choose board or matrix")
    if view == "matrix" and protocol not in ("multitask", "per-task"):
        raise UsageError("--view matrix is of the runs of per-task: leave --protocol out")
    if protocol not in (*PROTOCOLS, ALL):
        raise UnknownNameError("protocol", protocol, [*PROTOCOLS, ALL], "mtbench ls protocols")


def _print_matrix(board: Board, format: str, published: bool) -> None:
    from mtbench.cli.common import out_console
    from mtbench.report.matrix import matrices, print_matrices, render_matrices

    found = matrices(board, published)
    if format == "terminal":
        print_matrices(board, found, out_console())
    else:
        typer.echo(render_matrices(board, found, format), nl=False)


def _print_answers(folder: Path, suite: str, profile: str, baseline: str, published: bool, format: str) -> None:
    from mtbench.cli.common import out_console
    from mtbench.report.answers_board import load_answers
    from mtbench.report.answers_text import print_answers, render_answers

    found = load_answers(folder, suite, profile, baseline=baseline, published=published)
    if format == "terminal":
        print_answers(found, out_console())
    else:
        typer.echo(render_answers(found, format), nl=False)


def _print_tuned(folder: Path, suite: str, profile: str, metric: str | None, baseline: str, format: str) -> None:
    from mtbench.cli.common import out_console
    from mtbench.report.tables import print_board, render
    from mtbench.report.tuned import load_tuned

    board = load_tuned(folder, suite, profile, metric=metric, baseline=baseline)
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
