"""``mtbench plot``: which figure, from which records, to which file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mtbench.errors import UsageError
from mtbench.report.board import Board
from mtbench.report.figures import SCREEN, WIDTHS, Sheet, require_matplotlib, save
from mtbench.report.rows import Row

KINDS = ("curves", "gain", "cost", "sweep", "sensitivity", "entropy", "commitment", "matrix")


@dataclass(frozen=True, slots=True)
class FigureRequest:
    """What a figure shows of a board."""

    kind: str
    optimizer: str | None = None
    """Needed by ``sweep``; makes ``curves`` show everything about this optimizer."""
    seed: int | None = None
    rows: str | None = None
    """Names of rows with commas between them, in the order in which they are drawn; see ``select_rows``."""
    width: str | None = None
    """``column`` or ``page`` of a paper; None: the figure's own width."""


def plot(board: Board, request: FigureRequest, out: Path) -> Path:
    """Draw one figure of ``board`` (with whole records in its rows) into ``out`` (png, pdf or svg).

    Raises UsageError where the records lack what the figure shows or the request does not fit its kind,
    EnvironmentMismatchError without matplotlib.
    """
    sheet = _check(request)
    require_matplotlib()
    from mtbench.report import figure_analysis, figure_board, figure_curves, figure_matrix, figure_sweep
    from mtbench.report.compare import find_row

    kind, optimizer = request.kind, request.optimizer
    rows = select_rows(board, request.rows) if request.rows and kind != "matrix" else None
    if kind == "gain":
        figure = figure_board.gain_figure(board, rows, sheet)
    elif kind == "cost":
        figure = figure_board.cost_figure(board, rows, sheet)
    elif kind == "curves" and optimizer is None:
        figure = figure_curves.overview_figure(board, rows, sheet)
    elif kind == "curves":
        figure = figure_curves.optimizer_figure(find_row(board, str(optimizer)), request.seed, sheet)
    elif kind == "matrix":
        figure = figure_matrix.matrix_figure(board, request.rows, sheet)
    elif kind == "sensitivity":
        figure = figure_analysis.sensitivity_figure(board, optimizer, rows, sheet)
    elif kind == "entropy":
        figure = figure_analysis.entropy_figure(board, optimizer, rows, sheet)
    elif kind == "commitment":
        figure = figure_analysis.commitment_figure(board, optimizer, rows, sheet)
    else:
        figure = figure_sweep.sweep_figure(board, str(optimizer), rows, sheet)
    return save(figure, out)


def _check(request: FigureRequest) -> Sheet:
    """UsageError for a request that does not fit together; the sheet that it asks for."""
    if request.kind not in KINDS:
        raise UsageError(f"unknown kind of figure {request.kind!r}: one of {', '.join(KINDS)}")
    if request.optimizer is not None and request.kind == "matrix":
        raise UsageError("--kind matrix shows runs on one task each: leave --optimizer out")
    if request.optimizer is not None and request.kind in ("gain", "cost"):
        raise UsageError(f"--kind {request.kind} shows all optimizers: leave --optimizer out, or choose with --rows")
    if request.optimizer is not None and request.rows and request.kind != "sweep":
        raise UsageError("--optimizer and --rows both choose what is shown: give one")
    if request.optimizer is None and request.kind == "sweep":
        raise UsageError("--kind sweep needs the optimizer that was swept: --optimizer NAME")
    if request.width is not None and request.width not in WIDTHS:
        raise UsageError(f"unknown width {request.width!r}: one of {', '.join(WIDTHS)}")
    return Sheet(WIDTHS[request.width]) if request.width else SCREEN


def select_rows(board: Board, text: str) -> list[Row]:
    """The rows that ``text`` names, in its order: whole names, ``tsage:tau=4,beta=0.9``, optimizers or run ids.

    A comma may stand between two rows or within one: the longest beginning that is a row is one. A row of another
    configuration is drawn under its whole name. UsageError, with all names, where a part names no row.
    """
    parts = text.split(",")
    found: list[Row] = []
    while parts:
        row, used = _longest_row(board, parts)
        if any(row.name == other.label for other in found):
            raise UsageError(f"--rows names {row.name!r} twice")
        found.append(replace(row, label=row.name, variant=""))
        parts = parts[used:]
    return found


def _longest_row(board: Board, parts: Sequence[str]) -> tuple[Row, int]:
    from mtbench.report.compare import find_row

    for used in range(len(parts), 1, -1):
        try:
            return find_row(board, ",".join(parts[:used]).strip()), used
        except UsageError:
            continue
    return find_row(board, parts[0].strip()), 1


def default_path(results: Path, board: Board, kind: str, optimizer: str | None, suffix: str) -> Path:
    """``RESULTS/figures/SUITE@VERSION-PROFILE-KIND[-OPTIMIZER].SUFFIX``."""
    name = f"{board.label}-{board.profile}-{kind}" + (f"-{optimizer}" if optimizer else "")
    return results / "figures" / f"{name.replace(':', '-').replace('/', '-')}.{suffix}"
