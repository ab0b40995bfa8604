"""What all figures share: size and type for print, a palette for every eye, labels that do not cover each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

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


def line_style(index: int) -> dict[str, Any]:
    """Colour, dash and marker of the n-th line: distinct for 32 lines, also in grey."""
    return {
        "color": PALETTE[index % len(PALETTE)],
        "linestyle": DASHES[(index // len(PALETTE)) % len(DASHES)],
        "marker": MARKERS[index % len(MARKERS)],
    }


def legend_below(figure: Figure, axes: Axes, columns: int) -> None:
    """One legend for the whole figure, under it."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=max(1, min(columns, len(labels))))


def label_points(figure: Figure, axes: Axes, points: Sequence[tuple[float, float]], names: Sequence[str]) -> None:
    """Write each name beside its point where it covers neither points nor other names; else with a thin line."""
    with styled():
        figure.canvas.draw()  # positions of text are known only after a layout
        inside = axes.get_window_extent()
        spots = [axes.transData.transform(p) for p in points]
        taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in spots]
        unit = figure.dpi / 72
        for (x, y), point, name in zip(spots, points, names, strict=True):
            probe = axes.text(0, 0, name, fontsize=8)
            extent = probe.get_window_extent()
            probe.remove()
            w, h = extent.width, extent.height
            for dx, dy in _offsets(w / unit, h / unit):
                box = (x + dx * unit, y + dy * unit, x + dx * unit + w, y + dy * unit + h)
                fits = inside.x0 <= box[0] and box[2] <= inside.x1 and inside.y0 <= box[1] and box[3] <= inside.y1
                if fits and not any(_overlap(box, other) for other in taken):
                    break
            taken.append(box)
            far = abs(dy + h / unit / 2) > 6 + h / unit
            axes.annotate(
                name,
                point,
                (dx, dy),
                textcoords="offset points",
                fontsize=8,
                arrowprops={"arrowstyle": "-", "lw": 0.5, "color": "#777777"} if far else None,
            )


def _offsets(w: float, h: float) -> list[tuple[float, float]]:
    near = [
        (6, -h / 2),
        (-6 - w, -h / 2),
        (-w / 2, 6),
        (-w / 2, -6 - h),
        (5, 4),
        (5, -4 - h),
        (-5 - w, 4),
        (-5 - w, -4 - h),
    ]
    far = [(dx, dy) for d in (18, 30, 44, 60) for dx in (8.0, -8 - w, -w / 2) for dy in (d, -d - h)]
    return near + far


def _overlap(a: Sequence[float], b: Sequence[float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
