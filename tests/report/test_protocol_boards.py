"""Boards of protocols: runs of one seed are one row, measured against a retriever for each task."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_records import NAMES, baselines, make_record, per_task, run_of, write_all

from mtbench.cli.main import main
from mtbench.errors import UsageError
from mtbench.evaluation.scores import SCORES_FILE, TaskScores, write_scores
from mtbench.report.board import Board
from mtbench.report.compare import compare, find_row
from mtbench.report.leaderboard import load_board
from mtbench.report.rows import Row
from mtbench.report.tables import render
from mtbench.storage.store import Store

SEEDS = (0, 1, 2)


def multitask(value: float = 0.55, optimizer: str = "naive") -> list[dict[str, Any]]:
    return [make_record(optimizer, s, tasks=dict.fromkeys(NAMES, value + s / 100)) for s in SEEDS]


def board(folder: Path, records: list[dict[str, Any]], **options: Any) -> Board:
    write_all(folder, records)
    return load_board(folder, "toy", "mini", **options)


def row(board: Board, label: str) -> Row:
    return next(r for r in board.rows if r.label == label)


def test_runs_on_one_task_are_one_row_of_the_main_board(tmp_path: Path) -> None:
    found = board(tmp_path, [*baselines(), *multitask(), *per_task()])
    assert [r.label for r in found.rows if r.kind == "optimizer"] == ["naive", "per-task"]
    own = row(found, "per-task")
    assert own.seeds_done == [0, 1, 2] and not own.variant
    assert {t: e.seeds for t, e in own.tasks.items()} == {t: {s: 0.5 + s / 100 for s in SEEDS} for t in NAMES}
    assert own.average.mean == pytest.approx(0.51)
    assert own.gain is not None and own.gain.difference == pytest.approx(-0.05)
    shared = 3 * 40  # the four runs have one stage in common, which is computed once
    assert own.costs["hours"] == pytest.approx((4 * 101 - shared) / 3600) and own.costs["step_ms"] == 4 * 50
    assert own.costs["peak_memory_bytes"] == 500_000_000


def test_a_seed_without_a_task_has_no_average_and_says_which(tmp_path: Path) -> None:
    records = per_task(seeds=(0, 1))
    lost = next(r for r in records if r["spec"]["protocol"]["task"] == "fever" and r["spec"]["seed"] == 1)
    lost["status"], lost["error"] = "failed", {"type": "RunError", "message": "no memory", "traceback": []}
    own = row(board(tmp_path, [*multitask(), *records]), "per-task")
    assert own.seeds_done == [0] and own.seeds_known == [0, 1]
    told = " / ".join(own.notes)
    assert "seed 1: no result for fever, so no average" in told and "the run for fever is failed: no memory" in told


def test_rows_say_their_budget_start_and_method(tmp_path: Path) -> None:
    records = [*multitask(), *per_task(), *per_task(0.6, budget="batch", start="warmup")]
    for optimizer in ("naive", "tsage"):
        records += [run_of("leave-one-out", t, s, 0.3, 0.4, optimizer=optimizer) for t in NAMES for s in SEEDS]
        few = {"examples": 128, "start": "leave-one-out"}
        records += [run_of("few-shot", t, s, 0.35, 0.1, optimizer=optimizer, changes=few) for t in NAMES for s in SEEDS]
    main_board = board(tmp_path, records)
    assert {r.label for r in main_board.rows} == {"naive", "per-task", "per-task (batch), from warm-up"}
    assert any("leaderboard --protocol few-shot, leave-one-out" in note for note in main_board.notes)
    own = load_board(tmp_path, "toy", "mini", protocol="few-shot")
    assert [r.label for r in own.rows] == ["naive", "naive, leave-one-out + 128", "tsage, leave-one-out + 128"]
    assert own.rows[1].gain is not None and not own.rows[1].variant
    everything = load_board(tmp_path, "toy", "mini", protocol="all")
    assert len(everything.rows) == 7
    assert find_row(everything, "naive").label == "naive"
    assert find_row(everything, "tsage, leave-one-out").protocol is not None


def test_delta_m_is_the_mean_relative_gain_over_tasks_above_the_floor(tmp_path: Path) -> None:
    records = [*multitask(0.6), *multitask(0.5, "tsage")]
    for t, level in zip(NAMES, (0.5, 0.4, 0.8, 0.0), strict=True):
        records += [run_of("per-task", t, s, level, 0.2) for s in SEEDS]
    for record in records:  # the last task is at the floor in every seed
        if record["spec"].get("protocol", {}).get("task") == NAMES[3]:
            record["tasks"][NAMES[3]]["metrics"]["rprecision_page"] = 0.001
    found = board(tmp_path, records)
    gains = [sum((0.6 - p) / (p + s / 100) for p in (0.5, 0.4, 0.8)) / 3 for s in SEEDS]
    measure = row(found, "naive").measures["delta_m"]
    assert [measure.seeds[s] for s in SEEDS] == pytest.approx(gains) and measure.low is not None
    assert "delta_m" not in row(found, "per-task").measures
    assert any(note.startswith("delta_m:") and f"without {NAMES[3]} (below 1 %" in note for note in found.notes)
    missing = [note for note in found.notes if note.startswith("delta_m_batch needs")]
    assert len(missing) == 1 and missing[0].endswith("--seeds 0-2 --protocol per-task --set train.budget=batch")


def test_the_command_fills_both_measures_where_nothing_is_there(tmp_path: Path) -> None:
    found = board(tmp_path, multitask())
    assert sum("--protocol per-task" in note for note in found.notes) == 2
    assert row(found, "naive").measures == {} and row(found, "naive").mean_rank is None


def test_ranks_are_over_tasks_and_seeds_and_ties_share(tmp_path: Path) -> None:
    values = {"naive": (0.5, 0.5, 0.5, 0.5), "tsage": (0.6, 0.5, 0.4, 0.4), "pcgrad": (0.4, 0.4, 0.4, 0.6)}
    records = [
        make_record(name, s, tasks=dict(zip(NAMES, scores, strict=True)))
        for name, scores in values.items()
        for s in SEEDS
    ]
    found = board(tmp_path, records)
    expected = {"naive": (2 + 1.5 + 1 + 2) / 4, "tsage": (1 + 1.5 + 2.5 + 3) / 4, "pcgrad": (3 + 3 + 2.5 + 1) / 4}
    assert {name: row(found, name).mean_rank for name in values} == pytest.approx(expected)
    assert row(found, "tsage").worst in ("fever", "wow") and row(found, "naive").worst is None
    assert row(found, "pcgrad").worst in ("nq", "hotpotqa", "fever")


def test_a_gain_over_per_task_is_a_gain_like_another(tmp_path: Path) -> None:
    found = board(tmp_path, [*multitask(), *per_task()], baseline="per-task")
    gain = row(found, "naive").gain
    assert gain is not None and gain.difference == pytest.approx(0.05)
    with pytest.raises(UsageError, match="per-task"):
        load_board(tmp_path, "toy", "mini", baseline="per-tsk")


def test_one_reference_for_all_configurations_is_one_family(tmp_path: Path) -> None:
    other = {"train": {"lr": 2e-3, "episodes": 3, "temperature": 0.05}, "model": {"kind": "t5"}}
    records = [*multitask(), *[make_record("naive", s, gain=0.05, config=other) for s in SEEDS]]
    records += [make_record("tsage", s, gain=0.1, config=other) for s in SEEDS]
    records += [make_record("pcgrad", s, gain=0.1) for s in SEEDS]
    found = board(tmp_path, records, reference="naive")
    assert found.baseline == "naive"
    tested = [r for r in found.rows if r.gain is not None]
    assert len(tested) == 3 and sum(bool(r.variant) for r in tested) == 2
    smallest = min(tested, key=lambda r: r.gain.p)  # type: ignore[union-attr, return-value]
    assert smallest.gain.p_holm == pytest.approx(min(1, 3 * smallest.gain.p))  # type: ignore[union-attr, operator]
    with pytest.raises(UsageError, match="Write one of"):
        load_board(tmp_path, "toy", "mini", reference="cgd")


def test_rows_of_protocols_have_evidence_over_queries(tmp_path: Path) -> None:
    records, store = [*multitask(), *per_task()], Store(tmp_path / "store")
    for number, record in enumerate(records):
        key = f"{number:016x}"
        folder = store.folder("evaluate", key)
        folder.mkdir(parents=True)
        ids = [f"q{i}" for i in range(20)]
        draws = np.random.default_rng(number)
        scores = {t: TaskScores(ids, {"rprecision_page": draws.random(20)}) for t in NAMES}
        write_scores(folder / SCORES_FILE, scores)
        import hashlib

        digest = hashlib.sha256((folder / SCORES_FILE).read_bytes()).hexdigest()
        record["per_query"] = {"stage": "evaluate", "fingerprint": key, "file": SCORES_FILE, "sha256": digest}
    found = board(tmp_path, records, protocol="all", summary=False)
    result = compare(found, row(found, "naive"), row(found, "per-task"), store)
    assert all(line.queries is not None and line.queries.p is not None for line in result.tasks), result.notes


@pytest.mark.parametrize("format", ["md", "csv", "tex", "html", "json"])
def test_every_format_has_the_measures(tmp_path: Path, format: str) -> None:
    text = render(board(tmp_path, [*multitask(), *per_task()]), format)
    assert "delta_m" in text.replace("\\_", "_") and "per-task" in text
    if format == "csv":
        lines = list(csv.DictReader(io.StringIO(text)))
        assert float(lines[0]["delta_m"]) == pytest.approx(np.mean([0.05 / (0.5 + s / 100) for s in SEEDS]))
        assert lines[1]["protocol"] == "per-task" and lines[0]["mean_rank"] == "1.0" and lines[1]["worst"] in NAMES
    if format == "json":
        assert "folded" not in text


def test_the_matrix_has_each_run_on_every_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_all(tmp_path, [*multitask(), *per_task(), *per_task(0.6, budget="batch")])
    words = ["leaderboard", "--suite", "toy", "--results", str(tmp_path), "--view", "matrix"]
    assert main([*words, "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [m["row"] for m in told["matrices"]] == ["per-task (batch)", "per-task"]
    cells = told["matrices"][1]["cells"]
    assert cells["nq"]["nq"] == {
        "score": pytest.approx(0.51),
        "difference": None,
        "p_holm": None,
        "seeds": {"0": 0.5, "1": 0.51, "2": 0.52},
    }
    assert cells["fever"]["nq"]["score"] == pytest.approx(0.2)
    assert cells["fever"]["nq"]["difference"] == pytest.approx(-0.31) and cells["fever"]["nq"]["p_holm"] < 0.05
    for format in ("md", "csv", "tex", "terminal"):
        assert main([*words, "--format", format]) == 0
        assert ("-0.31," if format == "csv" else "20.00 (") in capsys.readouterr().out
    assert main([*words, "--format", "html"]) == 2
    capsys.readouterr()
    assert main(["plot", "--suite", "toy", "--results", str(tmp_path), "--kind", "matrix", "--json"]) == 0
    assert Path(json.loads(capsys.readouterr().out)["file"]).stat().st_size > 10_000


def test_without_runs_the_matrix_says_how_to_make_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_all(tmp_path, multitask())
    assert main(["leaderboard", "--suite", "toy", "--results", str(tmp_path), "--view", "matrix"]) == 2
    assert "--protocol per-task" in capsys.readouterr().err
    for words in (["--view", "cube"], ["--protocol", "per-tsk"], ["--view", "matrix", "--protocol", "few-shot"]):
        assert main(["leaderboard", "--suite", "toy", "--results", str(tmp_path), *words]) == 2


def test_published_counterparts_stand_beside(tmp_path: Path) -> None:
    from mtbench.report.matrix import lines, matrices
    from mtbench.report.published import reported_matrix

    found = reported_matrix("kilt", "rprecision_page", ["nq", "fever", "aidayago2"])
    assert found["nq"].tasks["fever"] > 0 and set(found["nq"].tasks) == {"nq", "fever", "aidayago2"}
    assert reported_matrix("toy", "rprecision_page", ["nq"]) == {}
    records = [{**r, "spec": {**r["spec"], "suite": "kilt"}} for r in per_task()]
    for record in records:
        record.pop("run_id")
    write_all(tmp_path, records)
    own = load_board(tmp_path, "kilt", "mini", protocol="per-task")
    assert [line[0] for line in lines(matrices(own)[0])] == ["trained on", *NAMES]
    (matrix,) = matrices(own, published=True)
    assert [line[0] for line in lines(matrix)][:3] == ["trained on", NAMES[0], f"DPR trained on {NAMES[0]}"]
