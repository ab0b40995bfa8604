"""``mtbench plot``: figures from stored results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mtbench.cli.options import Baseline, FinishedProfile, FinishedSuite, Json, Metric, Plugins, Results


def command(
    kind: Annotated[
        str, typer.Option(help="curves, gain, cost, sweep, sensitivity, entropy, commitment or matrix.")
    ] = "gain",
    suite: FinishedSuite = None,
    profile: FinishedProfile = "mini",
    optimizer: Annotated[str | None, typer.Option(help="Only this optimizer (sweep needs it).")] = None,
    rows: Annotated[
        str | None,
        typer.Option(help='Only these rows, in this order: "naive,tsage:tau=4"; also BM25 and other configurations.'),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed, for the curves of one optimizer.")] = None,
    metric: Metric = None,
    baseline: Baseline = "naive",
    out: Annotated[Path | None, typer.Option(help="File; default: RESULTS/figures/....")] = None,
    format: Annotated[str, typer.Option(help="png, pdf or svg, where --out is not given.")] = "png",
    width: Annotated[str | None, typer.Option(help="column (3.3 in) or page (6.9 in): a width for print.")] = None,
    results: Results = None,
    plugin: Plugins = None,
    json: Json = False,
) -> None:
    """Draw one figure as png, pdf or svg."""
    from mtbench.cli.common import emit_json, out_console
    from mtbench.records.files import suite_meant
    from mtbench.registry import add_plugin_files
    from mtbench.report.leaderboard import load_board
    from mtbench.report.plots import FigureRequest, default_path, plot
    from mtbench.storage.places import committed_results, default_results

    add_plugin_files(plugin or [])
    folder = results or committed_results()
    board = load_board(
        folder,
        suite_meant(folder, suite),
        profile,
        metric=metric,
        baseline=baseline,
        protocol="per-task" if kind == "matrix" else "all" if rows else "multitask",
        summary=False,
    )
    path = out or default_path(results or default_results(), board, kind, optimizer, format)
    plot(board, FigureRequest(kind, optimizer, seed, rows, width), path)
    if json:
        emit_json({"schema": 1, "kind": kind, "file": str(path)})
    else:
        out_console().print(f"wrote {path}", markup=False, highlight=False, soft_wrap=True)
