"""``mtbench plot``: which figure, from which records, to which file."""

from __future__ import annotations

from pathlib import Path

from mtbench.errors import UsageError
from mtbench.report.figures import require_matplotlib, save
from mtbench.report.leaderboard import Board

KINDS = ("curves", "gain", "cost", "sweep", "sensitivity", "entropy")


def plot(board: Board, kind: str, out: Path, *, optimizer: str | None = None, seed: int | None = None) -> Path:
    """Draw one figure of ``board`` (with whole records in its rows) into ``out`` (png, pdf or svg).

    ``optimizer`` is needed by ``sweep``, and makes ``curves`` show that optimizer alone. Raises UsageError where
    the records lack what the figure shows, EnvironmentMismatchError without matplotlib.
    """
    if kind not in KINDS:
        raise UsageError(f"unknown kind of figure {kind!r}: one of {', '.join(KINDS)}")
    if optimizer is not None and kind in ("gain", "cost"):
        raise UsageError(f"--kind {kind} shows all optimizers: leave --optimizer out")
    require_matplotlib()
    from mtbench.report import figure_analysis, figure_board, figure_curves, figure_sweep
    from mtbench.report.compare import find_row

    if kind == "gain":
        figure = figure_board.gain_figure(board)
    elif kind == "cost":
        figure = figure_board.cost_figure(board)
    elif kind == "curves" and optimizer is None:
        figure = figure_curves.overview_figure(board)
    elif kind == "curves":
        figure = figure_curves.optimizer_figure(find_row(board, str(optimizer)), seed)
    elif kind == "sensitivity":
        figure = figure_analysis.sensitivity_figure(board, optimizer)
    elif kind == "entropy":
        figure = figure_analysis.entropy_figure(board, optimizer)
    elif optimizer is None:
        raise UsageError("--kind sweep needs the optimizer that was swept: --optimizer NAME")
    else:
        figure = figure_sweep.sweep_figure(board, optimizer)
    return save(figure, out)


def default_path(results: Path, board: Board, kind: str, optimizer: str | None, suffix: str) -> Path:
    """``RESULTS/figures/SUITE@VERSION-PROFILE-KIND[-OPTIMIZER].SUFFIX``."""
    name = f"{board.label}-{board.profile}-{kind}" + (f"-{optimizer}" if optimizer else "")
    return results / "figures" / f"{name.replace(':', '-').replace('/', '-')}.{suffix}"
