"""What all figures share: size and type for print, a palette for every eye, labels that do not cover each other."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from mtbench.errors import EnvironmentMismatchError, UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C564B")
"""Okabe and Ito's colours, in an order in which neighbours differ in lightness too."""
DASHES = ("-", "--", "-.", ":")
MARKERS = "osD^vP*X"
SUFFIXES = (".png", ".pdf", ".svg")

STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "legend.fontsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "mtbench",
}


WIDTHS = {"column": 3.3, "page": 6.9}
"""Widths in inches of one column and of both in the field's proceedings."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """How wide a figure is: its own width in inches (``None``), or that of a paper's column or page."""

    width: float | None = None

    @property
    def narrow(self) -> bool:
        """Whether the figure stands in one column, with smaller type and what is needed alone."""
        return self.width is not None and self.width < 5

    @property
    def small(self) -> float:
        """Size in points of the smallest type: numbers in cells, names of points."""
        return 6.0 if self.narrow else 7.5

    def figure(self, width: float, height: float) -> Figure:
        """A figure of the sheet's width, of ``width`` where it has none."""
        return new_figure(self.width or width, height)


SCREEN = Sheet()


def require_matplotlib() -> None:
    """EnvironmentMismatchError with the command that installs it, if matplotlib is missing."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise EnvironmentMismatchError(
            "figures need matplotlib, which is not installed.\n  Install it: pip install 'mtbench[plot]'"
        ) from None


def new_figure(width: float, height: float) -> Figure:
    """A figure of the given size in inches with the project's style; no global state, no display."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        return Figure(figsize=(width, height), layout="constrained", dpi=200)


def styled() -> Any:
    """Context manager in which axes get the project's style."""
    import matplotlib as mpl

    return mpl.rc_context(STYLE)


def save(figure: Figure, path: Path) -> Path:
    """Write the figure; the suffix decides the format. The same figure gives the same bytes."""
    if path.suffix not in SUFFIXES:
        raise UsageError(f"{path}: figures are written as {', '.join(SUFFIXES)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    dates = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}, ".png": {}}
    with styled():
        figure.savefig(path, metadata=dates[path.suffix])
    return path


class LineStyle(TypedDict):
    """How a line is drawn, as matplotlib takes it."""

    color: str
    linestyle: str
    marker: str


def line_style(index: int) -> LineStyle:
    """Colour, dash and marker of the n-th line: distinct for 32 lines, also in grey."""
    return {
        "color": PALETTE[index % len(PALETTE)],
        "linestyle": DASHES[(index // len(PALETTE)) % len(DASHES)],
        "marker": MARKERS[index % len(MARKERS)],
    }


def line_styles(names: Iterable[str]) -> dict[str, LineStyle]:
    """Name of a row -> its style, the same in every panel of a figure, whichever of the rows a panel shows."""
    return {name: line_style(index) for index, name in enumerate(names)}


def legend_below(figure: Figure, axes: Axes, columns: int, note: str = "") -> None:
    """One legend for the whole figure, under it, in at most ``columns`` columns and no wider than the figure.

    ``note``: small print over the legend, in as many lines as the width takes.
    """
    handles, labels = axes.get_legend_handles_labels()
    if not handles:
        return
    characters = max(map(len, labels)) + 6  # the line before a name is as wide as six characters
    points_wide = figure.get_figwidth() * 72
    fitting = int(points_wide / (0.55 * STYLE["legend.fontsize"] * characters))
    count = max(1, min(columns, fitting, len(labels)))
    size = 6.5 if figure.get_figwidth() < 5 else 7.5
    wrapped = [line for part in note.splitlines() for line in textwrap.wrap(part, int(points_wide / (0.54 * size)))]
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=count,
        title="\n".join(wrapped) or None,
        title_fontsize=size,
        alignment="left" if wrapped else "center",
    )


def title_above(figure: Figure, text: str) -> None:
    """A title over the whole figure from its left edge on, in as many lines as its width takes."""
    size = STYLE["axes.titlesize"] if figure.get_figwidth() > 5 else STYLE["axes.labelsize"]
    characters = int(figure.get_figwidth() * 72 / (0.55 * size))
    figure.suptitle(textwrap.fill(text, characters), x=0.01, ha="left", fontsize=size)


def points(value: float, decimals: int = 2, sign: bool = True) -> str:
    """A number of points as text: a true minus sign, and no sign before what rounds to nothing."""
    text = f"{value:+.{decimals}f}" if sign else f"{value:.{decimals}f}"
    if float(text) == 0:
        text = text.lstrip("+-")
    return text.replace("-", "\N{MINUS SIGN}")


def label_points(axes: Axes, places: Sequence[tuple[float, float]], names: Sequence[str], size: float = 8) -> None:
    """Write the names in a column right of the axes, in the points' order from top to bottom, each with a thin line.

    However close points lie, no name covers anything, and lines of points above each other do not cross.
    """
    axes.autoscale_view()  # limits are settled late otherwise, and places with them
    order = sorted(range(len(places)), key=lambda i: (-places[i][1], places[i][0]))
    wanted = [axes.transAxes.inverted().transform(axes.transData.transform(places[i]))[1] for i in order]
    height = axes.get_window_extent().height / axes.figure.dpi * 72
    for i, y in zip(order, _spread(wanted, 1.4 * size / height), strict=True):
        axes.annotate(
            names[i],
            places[i],
            (1.03, y),
            textcoords="axes fraction",
            fontsize=size,
            va="center",
            arrowprops={
                "arrowstyle": "-",
                "lw": 0.5,
                "color": "#9a9a9a",
                "shrinkA": 1,
                "shrinkB": 3,
                "relpos": (0, 0.5),
            },
            annotation_clip=False,
        )


def _spread(places: Sequence[float], gap: float) -> list[float]:
    """Falling ``places`` in 0 to 1, moved as little as keeps them ``gap`` apart (less where they are too many)."""
    gap = min(gap, 1 / max(1, len(places)))
    groups: list[list[float]] = []  # each: sum of the tops wanted by its members, their number
    for k, place in enumerate(places):
        groups.append([place + k * gap, 1])
        while len(groups) > 1 and groups[-2][0] / groups[-2][1] < groups[-1][0] / groups[-1][1]:
            total, count = groups.pop()
            groups[-1][0] += total
            groups[-1][1] += count
    tops = [min(max(total / count, (len(places) - 1) * gap), 1.0) for total, count in groups for _ in range(int(count))]
    return [top - k * gap for k, top in enumerate(tops)]
