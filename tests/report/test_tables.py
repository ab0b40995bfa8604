"""Every format shows the same figures; a missing one never becomes a number."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from rich.console import Console
from synthetic_records import family, make_record

from mtbench.errors import DataError
from mtbench.records.files import Loaded
from mtbench.report.board import Board
from mtbench.report.leaderboard import build_board
from mtbench.report.tables import print_board, render, to_dict, to_markdown
from mtbench.report.writing import update_block, write_board

HOSTILE = "a_b&c%d#e|f$<script>alert(1)</script>^~*x*"


def make_board(extra: list[dict[str, Any]] | None = None, **options: Any) -> Board:
    records = family(3, tsage=0.013, cgd=-0.02)
    error = {"type": "RunError", "message": HOSTILE}
    records += [make_record("nash", 0, status="failed", tasks={}, extra={"error": error})]
    records += [make_record("uw", 0, tasks={"nq": 0.5}), *(extra or [])]
    return build_board([Loaded(r, Path(r["run_id"])) for r in records], **options)


def test_csv_reads_back_to_the_same_numbers() -> None:
    board = make_board()
    lines = list(csv.DictReader(io.StringIO(render(board, "csv"))))
    assert [line["method"] for line in lines] == [r.label for r in board.rows]
    for line, row in zip(lines, board.rows, strict=True):
        for name, estimate in {**row.tasks, "average": row.average}.items():
            if estimate.mean is None:
                assert line[name] == estimate.reason
            else:
                assert float(line[name]) == estimate.mean
        if row.gain is not None and row.gain.p is not None:
            assert (float(line["gain"]), float(line["p"])) == (row.gain.difference, row.gain.p)


def test_json_is_strict_and_complete() -> None:
    board = make_board()
    plain = json.loads(render(board, "json"), parse_constant=pytest.fail)
    assert plain == json.loads(json.dumps(to_dict(board)))
    tsage = next(r for r in plain["rows"] if r["name"] == "tsage")
    assert tsage["gain"]["star"] is True
    assert set(tsage["average"]["seeds"]) == {"0", "1", "2"}
    assert "runs" not in tsage


def test_markdown_renders_as_tables_with_equal_columns() -> None:
    board = make_board([make_record("tsage", 0, params={"note": HOSTILE})])
    tokens = MarkdownIt("commonmark").enable("table").parse(to_markdown(board))
    assert sum(t.type == "table_open" for t in tokens) == 2
    widths, cells = [], 0
    for token in tokens:
        if token.type in ("th_open", "td_open"):
            cells += 1
        elif token.type == "tr_close":
            widths.append(cells)
            cells = 0
    first = len(board.rows) + 1
    assert len(set(widths[:first])) == 1 and len(set(widths[first:])) == 1
    text = "\n".join(t.content for t in tokens if t.type == "inline")
    assert "html_inline" not in {c.type for t in tokens for c in t.children or []}
    gain = next(r.gain for r in board.rows if r.name == "tsage")
    assert gain is not None and gain.difference is not None
    assert "failed: RunError" in text and f"+{100 * gain.difference:.2f}" in text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles(tmp_path: Path) -> None:
    board = make_board([make_record("tsage", 0, params={"note": HOSTILE})])
    document = (
        "\\documentclass{article}\\usepackage[utf8]{inputenc}\\usepackage[T1]{fontenc}"
        "\\usepackage{booktabs,graphicx}\\begin{document}" + render(board, "tex") + "\\end{document}"
    )
    (tmp_path / "t.tex").write_text(document, encoding="utf-8")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"], cwd=tmp_path, capture_output=True
    )
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-1500:]
    assert (tmp_path / "t.pdf").stat().st_size > 1000


def test_latex_has_booktabs_rules_and_escaped_text() -> None:
    text = render(make_board([make_record("tsage", 0, params={"note": HOSTILE})]), "tex")
    assert text.count("\\toprule") == text.count("\\bottomrule") == 2
    assert "c\\%d\\#e" in text
    for table in text.split("\\begin{tabular}")[1:]:
        rows = [line for line in table.split("\\end{tabular}")[0].split("\n") if line.endswith(" \\\\")]
        assert len(rows) > 5 and len({line.count(" & ") for line in rows}) == 1
    assert "$-$" in text


@pytest.mark.parametrize("width", [60, 80, 120, 250])
def test_the_terminal_shows_every_number_whole_at_any_width(width: int) -> None:
    board = make_board()
    console = Console(file=io.StringIO(), width=width, record=True)
    print_board(board, console)
    text = console.export_text()
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    for row in board.rows:
        for estimate in (*row.tasks.values(), row.average):
            assert (f"{100 * estimate.mean:.2f}" if estimate.mean is not None else str(estimate.reason)) in text


def test_the_test_the_correction_and_n_are_printed_under_every_table() -> None:
    board = make_board()
    for format in ("md", "tex", "html", "json"):
        text = render(board, format)
        assert "paired t-test over seed-level averages (n = 3 seeds), Holm-corrected over 2 optimizers" in text


def test_published_rows_are_italic_labelled_and_not_ranked_among_our_own() -> None:
    names = ("fever", "aidayago2", "trex", "zsre", "nq", "hotpotqa", "triviaqa", "wow")
    records = [
        make_record(
            "naive", s, suite="kilt", tasks=dict.fromkeys(names, 0.1 + s / 100), extra={"average": 0.1 + s / 100}
        )
        for s in range(2)
    ]
    board = build_board([Loaded(r, Path(r["run_id"])) for r in records], published=True)
    assert board.rows[0].optimizer == "naive"
    taco = next(r for r in board.rows if r.label == "TACO")
    assert taco.average.mean == pytest.approx(0.7374) and taco.tasks["wow"].mean == pytest.approx(0.6097)
    assert taco.kind == "reported" and "table1" in taco.source
    assert len([r for r in board.rows if r.label == "TACO"]) == 1
    markdown = to_markdown(board)
    assert "*TACO*" in markdown and "*73.74*" in markdown and "*reported*" in markdown
    assert "\\textit{73.74}" in render(board, "tex")
    assert any("don't compare" in n for n in board.notes)
    tabi = next(r for r in board.rows if r.label == "TABi")
    assert tabi.tasks["aidayago2"].mean is None and tabi.average.mean is None
    assert any("not comparable" in n for n in tabi.notes)


def test_no_published_figures_for_other_suites() -> None:
    assert any("No published figures" in n for n in make_board(published=True).notes)


def test_write_makes_all_formats_and_replaces_only_the_block(tmp_path: Path) -> None:
    board = make_board()
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- leaderboard:toy:begin -->\nold\n<!-- leaderboard:toy:end -->\nafter\n")
    for _ in range(2):
        written = write_board(board, tmp_path / "results", readme)
    names = {p.name for p in written}
    assert {n.rpartition(".")[2] for n in names} == {"md", "csv", "tex", "html", "json"}
    text = readme.read_text()
    assert text.startswith("before\n<!-- leaderboard:toy:begin -->") and text.endswith(":end -->\nafter\n")
    assert "old" not in text and text.count("| tsage |") == 2


def test_a_readme_without_or_with_half_a_block(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("nothing here")
    assert update_block(readme, make_board()) is False
    readme.write_text("<!-- leaderboard:toy:begin -->")
    with pytest.raises(DataError, match="pair"):
        update_block(readme, make_board())


def test_a_readme_keeps_its_line_ends_and_must_be_utf8(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_bytes(b"before\r\n<!-- leaderboard:toy:begin -->\r\n<!-- leaderboard:toy:end -->\r\nafter\r\n")
    assert update_block(readme, make_board())
    lines = readme.read_bytes().split(b"\n")
    assert len(lines) > 10 and all(line.endswith(b"\r") for line in lines[:-1])
    readme.write_bytes("Stra\xdfe <!-- leaderboard:toy:begin -->".encode("latin-1"))
    with pytest.raises(DataError, match=r"README\.md: not UTF-8 at byte 4"):
        update_block(readme, make_board())
