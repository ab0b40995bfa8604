"""``mtbench compare A B``: two rows of a leaderboard, or one against published figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mtbench.cli.options import FinishedProfile, FinishedSuite, Json, Metric, Plugins, Results
from mtbench.errors import UsageError


def command(
    first: Annotated[str, typer.Argument(metavar="A", help="Optimizer, OPTIMIZER:KEY=VALUE, row or run id.")],
    second: Annotated[
        str,
        typer.Argument(metavar="B", help="The same, or a published system's name, or 'published' for A's counterpart."),
    ],
    suite: FinishedSuite = None,
    profile: FinishedProfile = "mini",
    metric: Metric = None,
    tolerance: Annotated[float, typer.Option(help="Points within which a published figure counts as reached.")] = 1.0,
    top: Annotated[int, typer.Option(help="How many of the queries that moved most to show.", min=0)] = 5,
    results: Results = None,
    store: Annotated[Path | None, typer.Option(help="Store with the per-query scores.")] = None,
    plugin: Plugins = None,
    json: Json = False,
) -> None:
    """Differences by task with intervals, p-values over seeds and over queries, and the queries that moved most."""
    from mtbench.cli.common import emit_json, out_console
    from mtbench.records.files import suite_meant
    from mtbench.registry import add_plugin_files
    from mtbench.report.compare import check_published, compare, find_other, find_row
    from mtbench.report.comparison_text import checks_dict, comparison_dict, print_checks, print_comparison
    from mtbench.report.leaderboard import load_board
    from mtbench.report.passages import describe_moved
    from mtbench.report.published import Reported
    from mtbench.storage.places import committed_results, default_root
    from mtbench.storage.store import Store

    if not 0 <= tolerance <= 100:
        raise UsageError(f"--tolerance is in points, from 0 to 100, got {tolerance}")
    add_plugin_files(plugin or [])
    folder = results or committed_results()
    suite = suite_meant(folder, suite)
    board = load_board(folder, suite, profile, metric=metric, protocol="all", summary=False)
    row = find_row(board, first)
    other = find_other(board, second, row)
    if isinstance(other, Reported):
        checks = check_published(board, row, other, tolerance / 100)
        if json:
            emit_json(checks_dict(row, other, checks))
        else:
            print_checks(row, other, checks, tolerance / 100, out_console())
            if profile != "paper":
                out_console().print(
                    f"The papers' figures are on the real data; the profile {profile!r} is not.", style="dim"
                )
        return
    opened = Store(store or default_root())
    comparison = compare(board, row, other, opened, most=top)
    describe_moved(comparison, opened)
    if json:
        emit_json(comparison_dict(comparison))
    else:
        print_comparison(comparison, out_console())
