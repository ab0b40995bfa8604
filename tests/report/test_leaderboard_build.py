"""Boards: what is averaged with what, what earns a star, and that a missing figure never becomes a number."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from synthetic_records import TASKS, baselines, family, make_record, write_all

from mtbench.errors import UsageError
from mtbench.records.files import Loaded
from mtbench.records.identity import run_id
from mtbench.report.board import Board
from mtbench.report.leaderboard import build_board, load_board
from mtbench.report.rows import Row


def board_of(records: list[dict[str, Any]], **options: Any) -> Board:
    return build_board([Loaded(r, Path(r["run_id"])) for r in records], **options)


def row(board: Board, name: str) -> Row:
    return next(r for r in board.rows if r.name == name)


def notes(board: Board) -> str:
    return "\n".join(board.notes)


def test_seeds_are_aggregated_and_the_true_gain_is_found() -> None:
    board = board_of(family(5, tsage=0.013, pcgrad=0.0))
    tsage, pcgrad = row(board, "tsage"), row(board, "pcgrad")
    assert tsage.gain is not None and pcgrad.gain is not None
    assert tsage.gain.difference == pytest.approx(0.013, abs=0.003)
    assert tsage.gain.star and not pcgrad.gain.star
    assert tsage.seeds_done == [0, 1, 2, 3, 4]
    assert [r.name for r in board.rows if r.best_tier] == ["tsage"]
    assert [r.label for r in board.rows][-2:] == ["BM25", "untrained encoder"]
    assert list(board.tasks.values()) == list(TASKS.values())


def test_the_average_is_that_of_the_records() -> None:
    records = family(3, tsage=0.01)
    board = board_of(records)
    own = [r["average"] for r in records if r["spec"]["optimizer"]["name"] == "tsage"]
    assert row(board, "tsage").average.mean == pytest.approx(sum(own) / 3)


def test_each_setting_is_a_row_and_defaults_are_not_named() -> None:
    settings = ({}, {"tau": 2.0}, {"tau": 4.0}, {"tau": 4, "beta": 0.9})
    board = board_of([make_record("tsage", i, params=p) for i, p in enumerate(settings)])
    assert sorted(r.name for r in board.rows) == ["tsage", "tsage (beta=0.9, tau=4)", "tsage (tau=4)"]
    assert row(board, "tsage").seeds_done == [0, 1]


def test_params_of_an_optimizer_that_is_gone_are_all_shown() -> None:
    board = board_of([make_record("mine-once", 0, params={"x": 1})])
    assert [r.name for r in board.rows] == ["mine-once (x=1)"]


def test_one_seed_earns_no_star_and_the_table_says_so() -> None:
    board = board_of(family(1, tsage=0.2))
    tsage = row(board, "tsage")
    assert tsage.gain is not None and tsage.gain.difference == pytest.approx(0.2, abs=0.01)
    assert not tsage.gain.star and tsage.average.high is None and tsage.best_tier is None
    assert "One seed" in notes(board) and "no star" in notes(board)


def test_identical_methods_are_told_apart_by_nothing() -> None:
    naive = [make_record("naive", s) for s in range(3)]
    tasks = [{t: v["metrics"]["rprecision_page"] for t, v in r["tasks"].items()} for r in naive]
    board = board_of(naive + [make_record("dwa", s, tasks=tasks[s]) for s in range(3)])
    dwa = row(board, "dwa")
    assert dwa.gain is not None and dwa.gain.p == 1.0 and not dwa.gain.star
    assert dwa.best_tier and row(board, "naive").best_tier


def failed(seed: int, name: str = "mgda") -> dict[str, Any]:
    error = {"type": "RunError", "message": "loss is not finite\nat step 3"}
    return make_record(name, seed, status="failed", tasks={}, extra={"error": error})


def test_a_failed_seed_is_named_and_the_others_count() -> None:
    board = board_of([*family(3), *(make_record("mgda", s) for s in range(2)), failed(2)])
    mgda = row(board, "mgda")
    assert (mgda.seeds_done, mgda.seeds_known) == ([0, 1], [0, 1, 2])
    assert mgda.notes == ["seed 2: failed (RunError: loss is not finite)"]
    assert mgda.gain is not None and mgda.gain.n == 2


@pytest.mark.parametrize("status", ["failed", "running", "interrupted"])
def test_a_row_without_a_finished_run_has_reasons_and_no_number(status: str) -> None:
    board = board_of([*family(2), make_record("nash", 0, status=status, tasks={"nq": 0.9})])
    nash = row(board, "nash")
    assert nash.average.mean is None and nash.gain is None
    assert {e.mean for e in nash.tasks.values()} == {None}
    assert {e.reason for e in nash.tasks.values()} == {status}
    assert board.rows[-1] is nash


def test_a_missing_task_leaves_no_average() -> None:
    board = board_of([*family(2), make_record("uw", 0, tasks={"nq": 0.9, "fever": 0.9})])
    uw = row(board, "uw")
    assert uw.average.mean is None and uw.seeds_done == []
    assert uw.tasks["nq"].mean == 0.9 and uw.tasks["wow"].reason == "missing"
    assert uw.notes == ["seed 0: no result for hotpotqa, wow, so no average"]


def test_a_missing_task_in_one_of_two_seeds_takes_that_seed_out() -> None:
    board = board_of([*family(2), make_record("uw", 0), make_record("uw", 1, tasks={"nq": 0.9})])
    assert row(board, "uw").seeds_done == [0]
    assert row(board, "uw").tasks["nq"].n == 1


def test_not_a_number_counts_as_missing() -> None:
    record = make_record("uw", 0)
    record["tasks"]["nq"]["metrics"]["rprecision_page"] = None
    uw = row(board_of([*family(2), record]), "uw")
    assert uw.average.mean is None and uw.tasks["nq"].mean is None


def test_limited_runs_and_older_versions_are_kept_off() -> None:
    board = board_of([*family(2), make_record("tsage", 0, limit=10), make_record("cgd", 0, suite_version=0)])
    assert {r.optimizer for r in board.rows} == {"naive", "bm25", "untrained"}
    assert "1 run with --limit kept off." in board.notes
    assert "1 run of older suite versions left out." in board.notes


def test_other_configurations_are_not_mixed() -> None:
    other = {"train": {"lr": 5e-6, "episodes": 3, "temperature": 0.05}}
    records = family(3, tsage=0.01)
    records += [make_record(n, s, gain=g, config=other) for n, g in (("naive", 0.5), ("tsage", 0.4)) for s in range(2)]
    board = board_of(records)
    naive, changed = row(board, "naive"), row(board, "tsage [train.lr=5e-06]")
    assert naive.seeds_done == [0, 1, 2] and naive.average.mean == pytest.approx(0.62, abs=0.02)
    assert changed.gain is not None and changed.gain.difference == pytest.approx(-0.1, abs=0.01)
    assert changed.best_tier is None
    assert [r.name for r in board.rows if r.best_tier] == ["tsage"]
    assert "bracket" in notes(board)


def test_a_changed_suite_fingerprint_is_another_configuration() -> None:
    board = board_of([*family(3), make_record("naive", 0, suite_fingerprint="0" * 12)])
    assert any(r.variant.startswith("suite_fingerprint=") for r in board.rows)


def test_a_plugin_is_compared_like_any_other_and_its_versions_are_two_rows() -> None:
    def plugin(seed: int, source: str, gain: float) -> dict[str, Any]:
        record = make_record("mine", seed, gain=gain)
        record["spec"]["optimizer"]["source"] = source
        return {**record, "run_id": run_id(record["spec"])}

    found = board_of(family() + [plugin(seed, "4f76bda70a8e7333", 0.03) for seed in range(3)])
    mine = row(found, "mine")
    assert mine.gain is not None and mine.gain.difference > 0 and mine.costs["step_ratio"] == 1.5
    assert not any("other configuration" in note for note in found.notes)
    runs = [plugin(seed, source, 0.03) for seed in range(3) for source in ("4f76bda70a8e7333", "aaaabbbbccccdddd")]
    labels = {r.label for r in board_of(family() + runs).rows if r.optimizer == "mine"}
    assert labels == {"mine (code 4f76bda7)", "mine (code aaaabbbb)"}


def test_two_versions_of_a_method_are_two_rows() -> None:
    def run(seed: int, **version: int) -> dict[str, Any]:
        record = make_record("pcgrad", seed)
        record["spec"]["optimizer"] |= version
        return {**record, "run_id": run_id(record["spec"])}

    runs = [run(seed, **version) for seed in range(3) for version in ({}, {"version": 2})]
    board = board_of(family() + runs)
    found = {r.label: r.seeds_done for r in board.rows if r.optimizer == "pcgrad"}
    assert found == {"pcgrad": [0, 1, 2], "pcgrad (version 2)": [0, 1, 2]}


def test_bm25_is_one_row_whatever_the_training_configuration() -> None:
    other = baselines()[0]
    other["spec"]["config"] = {"train": {"lr": 1.0}}
    other["run_id"] = "bm25-other"
    board = board_of([*family(3), other])
    assert [r.label for r in board.rows if r.optimizer == "bm25"] == ["BM25"]


def test_an_outside_system_is_held_fixed_and_tested() -> None:
    system = make_record("corpusbrain", 0, tasks=dict.fromkeys(TASKS, 0.9), extra={"external": True})
    board = board_of([*family(3), system])
    outside = row(board, "corpusbrain")
    assert outside.kind == "external" and outside.best_tier is None
    assert outside.gain is not None and outside.gain.n == 3 and outside.gain.star
    assert "held fixed" in notes(board)


def test_another_metric_and_one_that_nobody_has() -> None:
    board = board_of(family(2, tsage=0.01), metric="recall@100")
    naive = row(board, "naive").average.mean
    assert naive == pytest.approx((row(board_of(family(2)), "naive").average.mean or 0) + 0.1, abs=1e-6)
    with pytest.raises(UsageError, match="rprecision_page"):
        board_of(family(2), metric="f1")


def test_a_metric_that_a_task_does_not_define_drops_the_task_for_all() -> None:
    records = family(2, tsage=0.01)
    for record in records:
        del record["tasks"]["wow"]["metrics"]["recall@100"]
    board = board_of(records, metric="recall@100")
    assert "wow" not in board.tasks and row(board, "naive").average.mean is not None
    assert "not defined for wow" in notes(board)


def test_gains_are_against_the_named_baseline() -> None:
    board = board_of(family(3, tsage=0.01, cgd=-0.01), baseline="tsage")
    assert row(board, "tsage").gain is None
    gain = row(board, "cgd").gain
    assert gain is not None and gain.difference == pytest.approx(-0.02, abs=0.004)
    without = [r for r in family(2) if r["spec"]["optimizer"]["name"] != "naive"]
    assert "No finished run of the baseline naive" in notes(board_of(without))
    with pytest.raises(UsageError, match=r"no row 'nobody' to measure gains against; there are .*naive"):
        board_of(family(2), baseline="nobody")


def test_rows_with_other_seeds_are_said_to_have_them() -> None:
    same = family(3, tsage=0.01)
    assert "own seeds" not in notes(board_of(same))
    fewer = [r for r in same if (r["spec"]["optimizer"]["name"], r["spec"]["seed"]) != ("tsage", 2)]
    assert "tests against naive over those that both have" in notes(board_of(fewer))


def test_two_records_of_one_seed_are_noted_and_the_later_counts() -> None:
    first = make_record("uw", 0, tasks=dict.fromkeys(TASKS, 0.5), extra={"finished": "2026-01-01"})
    later = make_record("uw", 0, tasks=dict.fromkeys(TASKS, 0.6), extra={"finished": "2026-02-01", "run_id": "uw-late"})
    uw = row(board_of([*family(2), later, first]), "uw")
    assert uw.average.mean == pytest.approx(0.6)
    assert any("two records" in n for n in uw.notes)


def test_costs_are_relative_to_the_baseline() -> None:
    tsage = row(board_of(family(2, tsage=0.01)), "tsage")
    assert tsage.costs["step_ratio"] == pytest.approx(1.5)
    assert tsage.costs["hours"] == pytest.approx(100.5 / 3600)
    assert tsage.trials == 6


def test_the_detectable_difference_shrinks_with_seeds() -> None:
    few, many = board_of(family(3, tsage=0.01, cgd=0.0)), board_of(family(10, tsage=0.01, cgd=0.0))
    assert few.detectable[3] > many.detectable[10] > 0


def test_bad_files_are_listed_and_do_not_stop_the_rest(tmp_path: Path) -> None:
    write_all(tmp_path, family(2, tsage=0.01))
    folder = tmp_path / "runs" / "toy@1" / "mini" / "naive"
    good = sorted(folder.glob("*.json"))[0]
    (folder / "half.json").write_text(good.read_text()[:100])
    shutil.copy(good, folder / "again.json")
    board = load_board(tmp_path, "toy", "mini")
    assert len(row(board, "naive").seeds_done) == 2
    assert sorted(p.split()[0].rpartition("/")[2] for p in board.problems) == ["again.json", "half.json"]


def test_the_suite_may_be_the_folder_that_was_run(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "suite.toml").write_text('name = "toy"\n')
    write_all(tmp_path / "r", family(1))
    assert load_board(tmp_path / "r", str(tmp_path / "data"), "mini").suite == "toy"


def test_no_runs_says_how_to_make_some(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="mtbench run"):
        load_board(tmp_path, "toy", "mini")
