"""The papers' tables: every published row has a place, ours stand beside it, and what is missing names its command."""

from __future__ import annotations

import csv
import io
import json
import random
import shlex
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from synthetic_records import make_record, write_all

from mtbench.cli.main import main
from mtbench.errors import UnknownNameError, UsageError
from mtbench.registry import entries
from mtbench.report.layout_table import FilledLayout, FilledLine, load_layout
from mtbench.report.layout_text import print_layout, render_layout
from mtbench.report.layouts import layout, layouts
from mtbench.report.statistics import paired_t

KILT = {
    "fever": 0.8,
    "aidayago2": 0.7,
    "trex": 0.75,
    "zsre": 0.9,
    "nq": 0.6,
    "hotpotqa": 0.5,
    "triviaqa": 0.65,
    "wow": 0.55,
}
PROMPT = {"train": {"lr": 1e-3, "episodes": 3}, "data": {"prompt": "task"}}
NO_PROMPT = {"train": {"lr": 1e-3, "episodes": 3}, "data": {"prompt": "none"}}


def kilt_record(name: str, seed: int, gain: float = 0.0, **spec: Any) -> dict[str, Any]:
    """A record of the suite kilt; figures have a little noise, so that differences have a spread."""
    noise = random.Random(f"{name} {seed}")
    values = {t: v + gain + noise.gauss(0, 0.002) for t, v in KILT.items()}
    spec = {"config": PROMPT, **spec}
    record = make_record(name, seed, tasks=values, suite="kilt", **spec)
    return {**record, "average": sum(values.values()) / len(values)}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    records = [kilt_record("naive", seed) for seed in range(3)]
    records += [kilt_record("tsage", seed, 0.02) for seed in range(3)]
    records += [kilt_record("naive", seed, -0.1, config=NO_PROMPT) for seed in range(2)]
    records += [kilt_record("bm25", 0, -0.2)]
    return write_all(tmp_path_factory.mktemp("results"), records)


def line(filled: FilledLayout, system: str, block: int = 0) -> FilledLine:
    (found,) = [one for one in filled.blocks[block].lines if one.system == system]
    return found


def test_every_published_figure_stands_in_a_layout() -> None:
    text = (resources.files("tasks") / "published" / "published.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(io.StringIO(text)):
        tables = [
            t for t in layouts().values() if (t.source, t.table, t.split) == (row["source"], row["table"], row["split"])
        ]
        assert any(
            row["metric"] in table.metrics
            and row["system"] in {one.system for one in table.lines}
            and row["task"] in {*table.columns, "average"}
            for table in tables
        ), row


def test_layouts_name_what_exists() -> None:
    known = entries("optimizer")
    for table in layouts().values():
        systems = [one.system for one in table.lines]
        assert len(systems) == len(set(systems)) and (not table.reference or table.reference in systems)
        for one in table.lines:
            assert one.optimizer in {*known, "bm25", ""}
            assert sum(map(bool, (one.optimizer, one.row, one.trained))) <= 1
            assert set(one.params) <= set(known[one.optimizer].defaults if one.params else ())
    with pytest.raises(UnknownNameError, match="taco-table3"):
        layout("taco-tabel3")


def test_ours_stand_beside_the_published_figures(results: Path) -> None:
    filled = load_layout(results, layout("taco-table3"), "mini")
    taco, naive = line(filled, "TACO"), line(filled, "TACO w/o adaptive (naive)")
    assert taco.own == "tsage" and naive.reference
    fever = taco.cells["fever"]
    assert fever.published == pytest.approx(0.8617) and fever.own is not None and naive.cells["fever"].own is not None
    expected = paired_t(fever.own.seeds, naive.cells["fever"].own.seeds)
    assert fever.test is not None and fever.test.p == expected.p and fever.test.n == 3
    assert fever.test.p_holm is not None and expected.p is not None and fever.test.p_holm >= expected.p


def test_a_row_of_another_configuration_is_found_by_what_differs_and_tested_over_common_seeds(results: Path) -> None:
    filled = load_layout(results, layout("taco-table3"), "mini")
    without = line(filled, "TACO w/o task prefix w/o adaptive")
    assert "prompt" in without.own and without.seeds == [0, 1]
    test = without.cells["average"].test
    assert test is not None and test.n == 2 and test.difference == pytest.approx(-0.1, abs=0.01)
    missing = line(filled, "TACO w/o task prefix")
    assert not missing.own and all(cell.own is None for cell in missing.cells.values())
    command = "mtbench run --optimizer tsage --suite kilt --profile mini --set data.prompt=none --seeds 0,1,2"
    assert missing.command == command and any(command in note for note in filled.notes)


def test_the_reference_can_be_chosen(results: Path) -> None:
    filled = load_layout(results, layout("taco-table3"), "mini", reference="TACO")
    naive = line(filled, "TACO w/o adaptive (naive)")
    assert line(filled, "TACO").reference and not naive.reference
    test = naive.cells["average"].test
    assert test is not None and test.difference is not None and test.difference < 0
    with pytest.raises(UsageError, match="TACO w/o task prefix"):
        load_layout(results, layout("taco-table3"), "mini", reference="tsage")


def test_a_run_trained_on_one_task_is_a_line_of_the_matrix(tmp_path: Path) -> None:
    part = {"task": "nq", "tasks": ["nq"], "examples": None, "start": "encoder", "budget": "steps"}
    protocol = {"name": "per-task", **part}
    records = [kilt_record("naive", seed) for seed in range(2)]
    own = [kilt_record("naive", seed, -0.05, protocol=protocol) for seed in range(2)]
    write_all(tmp_path, [*records, *own])
    filled = load_layout(tmp_path, layout("mtdpr-table6"), "mini")
    on_nq = line(filled, "DPR trained on nq")
    assert on_nq.own and on_nq.seeds == [0, 1]
    fever = on_nq.cells["fever"].own
    assert fever is not None and fever.seeds == {
        s: own[s]["tasks"]["fever"]["metrics"]["rprecision_page"] for s in (0, 1)
    }
    assert not line(filled, "DPR trained on wow").own and line(filled, "DPR trained on wow").command


def test_without_any_run_the_published_figures_and_the_commands_stand(tmp_path: Path) -> None:
    filled = load_layout(tmp_path, layout("mtdpr-table5"), "mini")
    assert len(filled.blocks) == 2
    zero = line(filled, "MT-DPR zero-shot (leave-one-out)")
    assert zero.cells["average"].published == pytest.approx(0.484) and "--protocol leave-one-out" in zero.command
    blank = load_layout(tmp_path, layout("mtdpr-table3"), "mini")
    assert any("holds no row" in note for note in blank.notes)
    test_split = load_layout(tmp_path, layout("taco-table2"), "mini")
    assert all(not one.command and not one.own for one in test_split.blocks[0].lines)
    assert line(test_split, "TACO").cells["average"].published is not None


@pytest.mark.parametrize("name", list(layouts()))
def test_every_format_has_every_figure(results: Path, name: str) -> None:
    filled = load_layout(results, layout(name), "mini")
    console = Console(file=io.StringIO(), width=80, record=True)
    print_layout(filled, console)
    shown = {"terminal": console.export_text()} | {f: render_layout(filled, f) for f in ("md", "tex", "html")}
    figures = [c for block in filled.blocks for one in block.lines for c in one.cells.values()]
    for text in shown.values():
        assert text.endswith("\n")
        for cell in figures:
            assert cell.published is None or f"{100 * cell.published:.2f}" in text
            assert cell.own is None or cell.own.mean is None or f"{100 * cell.own.mean:.2f}" in text
    assert max(map(len, shown["terminal"].splitlines())) <= 80
    rows = list(csv.DictReader(io.StringIO(render_layout(filled, "csv"))))
    assert len(rows) == len(figures)
    for row, cell in zip(rows, figures, strict=True):
        assert row["published"] == ("" if cell.published is None else str(cell.published))
    plain = json.loads(render_layout(filled, "json"), parse_constant=pytest.fail)
    assert plain["layout"]["name"] == name and len(plain["blocks"]) == len(filled.blocks)


def test_the_command_prints_a_layout_and_refuses_what_does_not_belong(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["leaderboard", "--layout", "taco-table3", "--results", str(results), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["suite"] == "kilt@1"
    for extra in (["--layout", "taco-table3", "--metric", "recall@100"], ["--reference", "TACO"]):
        assert main(["leaderboard", "--results", str(results), *extra]) == 2
        assert "--layout" in capsys.readouterr().err or "--metric" in extra


@pytest.mark.slow
def test_every_command_that_fills_a_line_can_be_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MTBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    commands = {
        one.command(table.suite, "mini") for table in layouts().values() if table.split == "dev" for one in table.lines
    }
    assert len(commands - {""}) > 30
    for command in sorted(commands - {""}):
        code = main([*shlex.split(command)[1:], "--dry-run", "--json"])
        out = capsys.readouterr().out
        assert code == 0 and json.loads(out)["runs"], (command, out[:500])
