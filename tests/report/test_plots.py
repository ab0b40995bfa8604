"""Figures: each kind is drawn from records, in every format, and says what is missing where it cannot be."""

from __future__ import annotations

import copy
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgba
from matplotlib.figure import Figure
from matplotlib.text import Text
from synthetic_records import TASKS, family, make_record, per_task, write_all

from mtbench.errors import EnvironmentMismatchError, UsageError
from mtbench.records.curves import Analysis
from mtbench.report import plots
from mtbench.report.board import Board
from mtbench.report.figure_analysis import commitment_figure, entropy_figure, sensitivity_figure
from mtbench.report.figure_board import cost_figure, gain_figure
from mtbench.report.figure_curves import optimizer_figure, overview_figure
from mtbench.report.figure_sweep import sweep_figure
from mtbench.report.leaderboard import load_board
from mtbench.report.plots import KINDS, FigureRequest, default_path, plot, select_rows

pytest.importorskip("matplotlib")

SIGNATURES = {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}


def curves(seed: int) -> dict[str, Any]:
    steps = list(range(0, 50, 10))
    series = {t: [math.exp(-s / 30) + 0.1 * seed for s in steps] for t in TASKS}
    series["nq"][2] = None  # type: ignore[call-overload]
    episode = {"steps": steps, "losses": series, "weights": series, "gradient_norms": series}
    conflicts = {"conflict_steps": [0, 20, 40], "conflict_rate": [0.5, 0.4, 0.3]}
    return {"episodes": [{"episode": e, **episode, **conflicts} for e in range(3)]}


ANALYSIS: Analysis = {
    "sensitivity": {
        "tasks": list(TASKS),
        "bins": [-7.0, -6.9, -6.8, -6.7],
        "unit": "log10 of |theta * g|",
        "counts": {t: [100, 600, 298] for t in TASKS},
        "outliers": dict.fromkeys(TASKS, 2),
    },
    "entropy": {
        "distribution": "softmax",
        "tau": 2.0,
        "bins": [0.3, 0.8, 1.386],
        "unit": "nats",
        "counts": [300, 100],
        "unused": 250,
        "not_activated": 250,
        "task_specific": 100,
        "task_specific_by_task": dict.fromkeys(TASKS, 25),
        "committed": 50,
        "parameters": 1000,
        "thresholds": {"task_specific": 0.3, "not_activated": 0.1, "committed": 0.95},
    },
    "medians": {
        "over": "used by all tasks",
        "counted": 700,
        "by_task": dict.fromkeys(TASKS, 1e-7),
        "zeros_by_task": dict.fromkeys(TASKS, 260),
    },
    "commitment": {
        "steps": [10, 20],
        "rate": [0.5, 0.75],
        "committed_steps": [0, 10, 20],
        "committed_share": [0, 0.1, 0.2],
    },
}
OLD_ANALYSIS: Any = {
    "entropy": {"bins": [0.3, 0.8], "counts": [300], "not_activated": 500, "task_specific": 100},
    "medians": dict.fromkeys(TASKS, 1e-7),
    "commitment": {"steps": [0, 10], "rate": [0.1, 0.2]},
}
"""As the first version of the stage wrote it."""


@pytest.fixture
def board(tmp_path: Path) -> Board:
    records = family(3, tsage=0.012, cgd=-0.02)
    records += [make_record("tsage", s, params={"tau": tau}) for tau in (1.0, 8.0) for s in range(2)]
    records += [make_record("tsage", 0, params={"tau": 8.0, "beta": 0.5})]
    for record in records:
        record["history"] = [{"episode": e, "average": 0.5 + 0.1 * e} for e in range(3)]
        record["training"] = curves(record["spec"]["seed"])
    next(r for r in records if r["spec"]["optimizer"]["name"] == "tsage")["analysis"] = cast("Any", ANALYSIS)
    return load_board(write_all(tmp_path / "results", records), "toy", "mini", summary=False)


def with_matrix(board: Board, tmp_path: Path, kind: str) -> Board:
    """The board; for the matrix one of runs on one task each."""
    if kind != "matrix":
        return board
    write_all(tmp_path / "results", per_task())
    return load_board(tmp_path / "results", "toy", "mini", protocol="per-task", summary=False)


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_in_each_format(board: Board, tmp_path: Path, kind: str, suffix: str) -> None:
    board = with_matrix(board, tmp_path, kind)
    out = plot(board, FigureRequest(kind, optimizer="tsage" if kind == "sweep" else None), tmp_path / f"figure{suffix}")
    assert out.read_bytes().startswith(SIGNATURES[suffix])
    assert out.stat().st_size > 3000


def test_the_same_records_give_the_same_file(board: Board, tmp_path: Path) -> None:
    first, second = (plot(board, FigureRequest("gain"), tmp_path / f"{n}.svg").read_bytes() for n in "ab")
    assert first == second


@pytest.mark.parametrize("settings", [0, 60])
def test_labels_of_a_cost_figure_cover_nothing(settings: int, board: Board) -> None:
    rows = [r for r in board.rows if r.kind == "optimizer" and not r.variant]
    board.rows += [replace(rows[0], params={"tau": 100.0 + i}) for i in range(settings)]
    rows = [r for r in board.rows if r.kind == "optimizer"]
    for i, row in enumerate(rows):
        row.costs["step_ratio"] = 1.0 + 0.001 * i
    figure = cost_figure(board)
    FigureCanvasAgg(figure).draw()
    texts = figure.axes[0].texts
    boxes = [Text.get_window_extent(text) for text in texts]  # without the line
    assert len(boxes) == 6 + settings
    edge = figure.axes[0].get_window_extent().x1
    assert all(edge < box.x0 and box.x1 < figure.bbox.x1 and box.y0 > 0 for box in boxes)
    by_score = sorted(rows, key=lambda r: -((r.gain.difference if r.gain else 0) or 0))
    assert [text.get_text() for text in texts] == [r.label for r in by_score if not r.variant]
    for i, one in enumerate(boxes):
        assert not any(one.overlaps(other) for other in boxes[i + 1 :])


def test_the_gain_heat_map_has_the_tables_numbers_and_stars(board: Board) -> None:
    texts = [t.get_text() for t in gain_figure(board).axes[0].texts]
    gain = next(r.gain for r in board.rows if r.name == "tsage")
    assert gain is not None and gain.difference is not None
    assert f"{100 * gain.difference:+.2f}*" in texts
    assert not any(text.startswith("-") for text in texts) and any(text.startswith("\N{MINUS SIGN}") for text in texts)
    assert len(texts) == 5 * (len(TASKS) + 1)


def test_every_axis_has_a_label(board: Board) -> None:
    for figure in (
        cost_figure(board),
        overview_figure(board),
        sweep_figure(board, "tsage"),
        entropy_figure(board, None),
    ):
        for axes in figure.axes:
            assert axes.get_xlabel() or axes.get_ylabel()


def test_a_sweep_shows_a_line_for_tau_and_a_grid_with_beta(board: Board) -> None:
    figure = sweep_figure(board, "tsage")
    labels = [axes.get_xlabel() for axes in figure.axes]
    assert any(label.startswith("tau") for label in labels) and "beta" in labels
    assert "dev" in figure.axes[0].get_ylabel()


def test_a_line_that_does_not_pass_the_defaults_is_drawn_where_it_is(tmp_path: Path) -> None:
    points = [(2.0, 0.0), (2.0, 0.89), (2.0, 0.999), (0.5, 0.89), (8.0, 0.89)]
    records = [make_record("tsage", 0, params={"tau": tau, "beta": beta}) for tau, beta in points]
    found = load_board(write_all(tmp_path, records), "toy", "mini", summary=False)
    lines = {axes.get_xlabel(): axes for axes in sweep_figure(found, "tsage").axes}
    assert [t.get_text() for t in lines["beta"].get_xticklabels()][:3] == ["0", "0.89", "0.999"]
    assert list(lines["tau at beta=0.89"].lines[0].get_xdata()) == [0.5, 2, 8]


def test_a_sweep_prefers_the_slice_of_train(board: Board) -> None:
    for row in board.rows:
        for record in row.runs.values():
            record["selection"] = {"average": 0.42}
    axes = sweep_figure(board, "tsage").axes[0]
    assert "slice of train" in axes.get_ylabel()
    assert set(axes.lines[0].get_ydata()) == {42.0}


def test_entropy_has_the_named_bins_and_then_the_others(board: Board) -> None:
    named, others = entropy_figure(board, None).axes
    labels = [t.get_text() for t in named.get_xticklabels()]
    assert labels == ["Unused", "Not Activated", "Task Specific"]
    assert [p.get_height() for p in named.patches] == pytest.approx([25, 25, 10])
    (steps,) = others.patches
    assert list(steps.get_data().values) == pytest.approx([30, 10])  # type: ignore[attr-defined]


def test_sensitivities_are_drawn_raw_with_a_panel_per_task_and_all_rows_on_one_axis(board: Board) -> None:
    weaker: Any = copy.deepcopy(ANALYSIS)
    weaker["sensitivity"]["bins"] = [-9.0, -8.9, -8.8, -8.7]
    weaker["medians"]["zeros_by_task"] = dict.fromkeys(TASKS, 500)
    next(r for r in board.rows if r.name == "naive").runs[0]["analysis"] = weaker
    figure = sensitivity_figure(board, None)
    assert [axes.get_title(loc="left") for axes in figure.axes] == list(TASKS)
    for axes in figure.axes:
        lines = {line.get_label(): line for line in axes.lines}
        assert set(lines) == {"naive", "tsage"}
        assert list(lines["tsage"].get_xdata()) == pytest.approx([-6.95, -6.85, -6.75])
        assert list(lines["tsage"].get_ydata()) == pytest.approx([1.0, 6.0, 2.98])  # per decade; the outliers count
        assert axes.get_xlim() == pytest.approx((-8.95, -6.75))
    note = figure.legends[0].get_title().get_text().replace("\n", " ")
    assert "26 to 50 % of the parameters" in note and "0.20 % of the others" in note  # 2 of 1,000


def test_what_lies_outside_of_the_axis_is_counted(board: Board) -> None:
    tailed: Any = copy.deepcopy(ANALYSIS)
    tailed["sensitivity"] |= {
        "bins": [-7.2, -7.1, -7.0, -6.9],
        "counts": {t: [5, 900, 90] for t in TASKS},  # the first bin is less than a hundredth of the peak
        "outliers": dict.fromkeys(TASKS, 5),
    }
    next(r for r in board.rows if r.name == "tsage").runs[0]["analysis"] = tailed
    figure = sensitivity_figure(board, None)
    assert figure.axes[0].get_xlim() == pytest.approx((-7.05, -6.95))
    assert "outliers (1.00 % of the others)" in figure.legends[0].get_title().get_text().replace("\n", " ")


def entropy_colours(board: Board, rows: str) -> dict[str, Any]:
    """Name of a row -> its colour in the figure of entropies."""
    others = entropy_figure(board, None, select_rows(board, rows)).axes[1]
    return {str(patch.get_label()): to_hex(patch.get_edgecolor()).upper() for patch in others.patches}


def test_commitment_shows_both_numbers_by_step(board: Board, tmp_path: Path) -> None:
    next(r for r in board.rows if r.name == "naive").runs[0]["analysis"] = {
        **ANALYSIS,
        "commitment": {"steps": [], "rate": [], "committed_steps": [], "committed_share": []},
    }
    rate, taken = commitment_figure(board, None, select_rows(board, "naive,tsage")).axes
    (line,) = rate.lines
    assert line.get_color() == entropy_colours(board, "naive,tsage")["tsage"]
    assert list(rate.lines[0].get_xdata()) == [10, 20] and list(rate.lines[0].get_ydata()) == [50, 75]
    assert list(taken.lines[0].get_ydata()) == pytest.approx([0, 10, 20])
    for row in board.rows:
        for record in row.runs.values():
            none = {"steps": [], "rate": [], "committed_steps": [], "committed_share": []}
            record["analysis"] = {**ANALYSIS, "commitment": none}  # type: ignore[typeddict-item]
    with pytest.raises(UsageError, match="only methods that average sensitivities"):
        plot(board, FigureRequest("commitment"), tmp_path / "c.png")


def test_a_sweep_with_analyses_shows_the_task_specific_share(board: Board) -> None:
    for row in board.rows:
        for record in row.runs.values():
            analysis: Any = copy.deepcopy(ANALYSIS)
            analysis["entropy"]["task_specific"] = 100 * row.params.get("tau", 2.0)
            record["analysis"] = analysis
    score, specific = [axes for axes in sweep_figure(board, "tsage").axes if axes.get_xlabel() == "tau"]
    assert score.get_xlabel() == specific.get_xlabel() and "task-specific" in specific.get_ylabel()
    assert list(specific.lines[0].get_xdata()) == [1, 2, 8]
    assert list(specific.lines[0].get_ydata()) == pytest.approx([10, 20, 80])


def test_an_analysis_of_an_earlier_version_is_not_drawn_as_if_it_were_todays(board: Board, tmp_path: Path) -> None:
    for row in board.rows:
        for record in row.runs.values():
            if "analysis" in record:
                record["analysis"] = OLD_ANALYSIS
    for kind in ("entropy", "sensitivity", "commitment"):
        with pytest.raises(UsageError, match="--until analyze"):
            plot(board, FigureRequest(kind), tmp_path / "e.png")
    assert not any("task-specific" in axes.get_ylabel() for axes in sweep_figure(board, "tsage").axes)


def test_what_is_missing_is_said_with_the_command_that_makes_it(board: Board, tmp_path: Path) -> None:
    for row in board.rows:
        for record in row.runs.values():
            record.pop("analysis", None)
    with pytest.raises(UsageError, match="--until analyze"):
        plot(board, FigureRequest("entropy"), tmp_path / "e.png")
    with pytest.raises(UsageError, match="--optimizer"):
        plot(board, FigureRequest("sweep"), tmp_path / "e.png")
    with pytest.raises(UsageError, match="mtbench sweep"):
        plot(board, FigureRequest("sweep", optimizer="cgd"), tmp_path / "e.png")
    with pytest.raises(UsageError, match="unknown kind"):
        plot(board, FigureRequest("pie"), tmp_path / "e.png")
    with pytest.raises(UsageError, match=r"\.png, \.pdf, \.svg"):
        plot(board, FigureRequest("gain"), tmp_path / "e.jpg")
    assert list(tmp_path.glob("e.*")) == []


def test_curves_of_one_optimizer(board: Board, tmp_path: Path) -> None:
    assert plot(board, FigureRequest("curves", optimizer="tsage", seed=1), tmp_path / "c.png").is_file()
    with pytest.raises(UsageError, match="seed 9"):
        plot(board, FigureRequest("curves", optimizer="tsage", seed=9), tmp_path / "d.png")


def test_looks_while_training_have_panels_of_their_own(board: Board) -> None:
    row = next(row for row in board.rows if row.label == "tsage")
    assert len(optimizer_figure(row, 1).axes) == 4
    for number, episode in enumerate(row.runs[1]["training"]["episodes"]):
        mrr = {task: [0.2, None, 0.4] for task in TASKS}
        looks = {"steps": [20, 40, 41], "mrr": mrr, "mean": [0.2, 0.5, 0.4], "kept": 40 if number else None}
        episode["summary"] = {"validation": looks}  # type: ignore[typeddict-item]
    by_task, mean = optimizer_figure(row, 1).axes[4:]
    lines = [line for line in by_task.lines if len(line.get_xdata()) == 3]
    assert len(lines) == 3 * len(TASKS)
    drawn = [line.get_ydata() for line in lines]
    assert all(y[0] == pytest.approx(20) and math.isnan(y[1]) and y[2] == pytest.approx(40) for y in drawn)
    assert {line.get_color() for line in lines} == {
        line.get_color() for line in optimizer_figure(row, 1).axes[0].lines[:4]
    }
    stars = [line for line in mean.lines if line.get_marker() == "*"]
    assert [(float(star.get_xdata()[0]), float(star.get_ydata()[0])) for star in stars] == [(80, 50), (121, 50)]


def test_without_matplotlib_the_extra_is_named(board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(EnvironmentMismatchError, match=r"mtbench\[plot\]"):
        plot(board, FigureRequest("gain"), tmp_path / "g.png")


def test_default_path(board: Board, tmp_path: Path) -> None:
    assert default_path(tmp_path, board, "sweep", "tsage", "pdf").name == "toy@1-mini-sweep-tsage.pdf"


def test_rows_are_drawn_as_asked_for(board: Board) -> None:
    rows = select_rows(board, "tsage:tau=8,beta=0.5, BM25,tsage")
    assert [row.label for row in rows] == ["tsage (beta=0.5, tau=8)", "BM25", "tsage"]
    ticks = [t.get_text() for t in gain_figure(board, rows[1:]).axes[0].get_yticklabels()]
    assert ticks == ["BM25", "tsage"]
    lines = overview_figure(board, [rows[2], select_rows(board, "cgd")[0]]).axes[0].lines
    assert [line.get_label() for line in lines] == ["tsage", "cgd"]
    with pytest.raises(UsageError, match="nobody"):
        select_rows(board, "tsage,nobody")
    with pytest.raises(UsageError, match="twice"):
        select_rows(board, "tsage,tsage")


def test_a_row_of_another_configuration_is_drawn_under_its_whole_name(tmp_path: Path) -> None:
    other = {"train": {"lr": 2e-3, "episodes": 3, "temperature": 0.05}}
    records = [*family(3, tsage=0.01), make_record("tsage", 0, config=other)]
    found = load_board(write_all(tmp_path, records), "toy", "mini", summary=False)
    (name,) = [row.name for row in found.rows if row.variant]
    (row,) = select_rows(found, name)
    assert row.label == name and "train.lr=0.002" in name


def test_a_row_has_one_colour_in_all_panels(board: Board) -> None:
    naive = next(r for r in board.rows if r.name == "naive")
    for record in naive.runs.values():  # naive has no commitment: a figure that this row is missing in
        record["analysis"] = ANALYSIS
    rows = select_rows(board, "naive,tsage")
    named, others = entropy_figure(board, None, rows).axes
    bars = [p.get_facecolor() for p in named.patches[::3]]
    steps = {p.get_label(): p.get_edgecolor() for p in others.patches}
    assert bars == [steps["naive"], steps["tsage"]] and bars[0] != bars[1]
    lines = {
        line.get_label(): to_rgba(line.get_color()) for line in sensitivity_figure(board, None, rows).axes[0].lines
    }
    assert lines == steps


def test_colours_end_before_an_outlier_and_numbers_do_not(tmp_path: Path) -> None:
    records = family(3, tsage=0.01, cgd=-0.01, nash=0.005, uw=-0.4)
    found = load_board(write_all(tmp_path, records), "toy", "mini", summary=False)
    axes = gain_figure(found).axes[0]
    limit = axes.images[0].get_clim()[1]
    worst = min(float(t.get_text().strip("*").replace("\N{MINUS SIGN}", "-")) for t in axes.texts)
    assert limit < 41 and worst < -35


def test_whiskers_are_those_of_the_paired_differences(board: Board) -> None:
    figure = cost_figure(board)
    rows = [r for r in board.rows if r.kind == "optimizer" and not r.variant]
    (bars,) = figure.axes[0].containers
    for row, segment in zip(rows, bars.lines[2][0].get_segments(), strict=True):
        expected = (0.0, 0.0) if row.gain is None else (row.gain.low, row.gain.high)
        if row.gain is None or row.gain.low is not None:
            assert [y / 100 for y in segment[:, 1]] == pytest.approx(expected)


@pytest.mark.parametrize("width", ["column", "page"])
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_leaves_a_figure_of_a_papers_width(board: Board, tmp_path: Path, kind: str, width: str) -> None:
    board = with_matrix(board, tmp_path, kind)
    for row in board.rows:
        for record in row.runs.values():
            record["analysis"] = ANALYSIS
    drawn: list[Figure] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "save", lambda figure, out: drawn.append(figure) or out)
        plot(board, FigureRequest(kind, "tsage" if kind == "sweep" else None, width=width), tmp_path / "f.png")
    (figure,) = drawn
    assert figure.get_figwidth() == {"column": 3.3, "page": 6.9}[width]
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    box = figure.get_tightbbox(canvas.get_renderer())
    width_, height = figure.get_size_inches()
    assert box.x0 > -0.01 and box.y0 > -0.01 and box.x1 < width_ + 0.01 and box.y1 < height + 0.01


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "matrix"])
def test_a_row_of_several_runs_is_no_obstacle(board: Board, tmp_path: Path, kind: str) -> None:
    write_all(tmp_path / "results", per_task())
    main_board = load_board(tmp_path / "results", "toy", "mini", summary=False)
    assert any(row.protocol for row in main_board.rows)
    out = plot(main_board, FigureRequest(kind, optimizer="tsage" if kind == "sweep" else None), tmp_path / "f.png")
    assert out.stat().st_size > 3000
