"""``mtbench score``: the three forms, JSON alone on standard output, one clear error for a user's mistake."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from outside_suite import write_suite, write_systems
from typer.testing import CliRunner, Result

from mtbench.cli.score import command
from mtbench.errors import DataError, MtbenchError, UsageError
from mtbench.records.files import load_records


def call(*arguments: object) -> Result:
    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, [str(a) for a in arguments])


def output(*arguments: object) -> dict:
    result = call(*arguments, "--json")
    assert result.exception is None, result.exception
    return json.loads(result.stdout)


def mistake(kind: type[MtbenchError], *arguments: object) -> str:
    result = call(*arguments)
    assert isinstance(result.exception, kind), result.output
    assert result.exception.exit_code == 2
    return str(result.exception)


def test_kilt_files_give_the_official_figures(formats: Path) -> None:
    """Worked by hand in ``tests/evaluation/test_kilt_scores.py``."""
    folder = formats / "kilt_scores"
    files = ("--gold", folder / "three_sets-gold.jsonl", "--guess", folder / "in_pieces-guess.jsonl")
    found = output(*files, "--ks", "1,5")
    assert found["num_queries"] == 1
    assert found["metrics"] == {
        "Rprec": 0.5,
        "precision@1": 0.0,
        "recall@1": 0.0,
        "success_rate@1": 0.0,
        "precision@5": 0.4,
        "recall@5": 2 / 3,
        "success_rate@5": 1.0,
    }
    assert set(output(*files)["metrics"]) >= {"precision@20", "recall@20", "success_rate@20"}
    assert output(*files, "--rank-keys", "wikipedia_id,section", "--ks", "5")["metrics"]["recall@5"] == 2 / 3
    lines = call(*files).stdout.splitlines()
    assert lines[0] == "1 queries"
    assert "Rprec            0.5000" in [line.rstrip() for line in lines]


def test_kilts_own_files_give_the_official_figures(shared_data: Path) -> None:
    folder = shared_data / "formats" / "kilt_eval_tests"
    files = ("--gold", folder / "gold2.jsonl", "--guess", folder / "guess2_1.jsonl")
    found = output(*files, "--ks", "1,5")
    assert found["num_queries"] == 1
    assert found["metrics"] == {
        "Rprec": 0.5,
        "precision@1": 1.0,
        "recall@1": 1 / 3,
        "success_rate@1": 1.0,
        "precision@5": 0.4,
        "recall@5": 2 / 3,
        "success_rate@5": 1.0,
    }
    assert set(output(*files)["metrics"]) >= {"precision@20", "recall@20", "success_rate@20"}
    assert output(*files, "--rank-keys", "wikipedia_id,section", "--ks", "5")["metrics"]["recall@5"] == 2 / 3
    lines = call(*files).stdout.splitlines()
    assert lines[0] == "1 queries"
    assert "Rprec            0.5000" in [line.rstrip() for line in lines]


def test_downstream_gives_the_official_figures_of_answers(shared_data: Path) -> None:
    folder = shared_data / "formats" / "kilt_eval_tests"
    files = ("--gold", folder / "gold1.jsonl", "--guess", folder / "guess1_1.jsonl", "--downstream")
    found = output(*files)
    assert found["num_queries"] == 3
    assert found["metrics"]["rougel"] == 0.7222222178240741
    assert found["metrics"]["KILT-rougel"] == 0.3333333316666667
    assert "KILT-em        0.3333" in [line.rstrip() for line in call(*files).stdout.splitlines()]


def test_trec_files_give_trec_evals_figures(tmp_path: Path) -> None:
    (tmp_path / "q").write_text("1 0 a 1\n2 0 b 1\n")
    (tmp_path / "r").write_text("1 Q0 a 1 2.0 t\n9 Q0 a 1 2.0 t\n")
    files = ("--qrels", tmp_path / "q", "--run", tmp_path / "r")
    assert output(*files, "--metrics", "Rprec, recall@100") == {
        "metrics": {"Rprec": 0.5, "recall@100": 0.5},
        "num_queries": 2,
    }
    result = call(*files)
    assert "1 judged queries have no results; each counts 0" in result.stderr
    assert "1 queries of the run are not judged" in result.stderr


def test_an_outside_system_becomes_a_record(tmp_path: Path) -> None:
    suite, systems = write_suite(tmp_path / "suite"), write_systems(tmp_path / "systems")
    places = ("--results", tmp_path / "results", "--store", tmp_path / "store")
    found = output("--as", "seal", "--suite", suite, "--run", systems, *places)
    assert found["average"] == pytest.approx((0.25 + 0.5) / 2)
    (loaded,) = load_records(tmp_path / "results")
    assert loaded.kind == "ok"
    assert loaded.record["external"] is True
    assert loaded.record["run_id"] == found["run_id"]
    assert Path(found["record"]) == loaded.path


def test_a_part_of_the_tasks_is_said_to_be_a_part(tmp_path: Path) -> None:
    suite, systems = write_suite(tmp_path / "suite"), write_systems(tmp_path / "systems")
    places = ("--results", tmp_path / "results", "--store", tmp_path / "store")
    result = call("--as", "seal", "--suite", suite, "--task", "doc", "--run", systems / "doc.trec", *places)
    assert result.exception is None, result.exception
    assert "No recall@100 for nq: the row has no average yet." in result.stderr
    assert "nq       -" in result.stdout


WRONG = {
    (): "give --gold and --guess",
    ("--gold", "g"): "give --gold and --guess",
    ("--gold", "g", "--guess", "p", "--qrels", "q"): "give --gold and --guess",
    ("--as", "x", "--guess", "p"): "--as NAME and --suite S go together",
    ("--suite", "kilt", "--guess", "p"): "--as NAME and --suite S go together",
    ("--as", "x", "--suite", "kilt"): "--run or --guess (one of them)",
    ("--as", "x", "--suite", "kilt", "--run", "a", "--guess", "b"): "--run or --guess (one of them)",
    ("--as", "bm25", "--suite", "kilt", "--run", "a"): "an optimizer or baseline of mtbench has this name",
    ("--downstream", "--gold", "g"): "--downstream goes with --gold and --guess",
    ("--downstream", "--gold", "g", "--guess", "p", "--run", "r"): "--downstream goes with --gold and --guess",
    ("--gold", "g", "--guess", "p", "--ks", "0"): "--ks takes positive whole numbers",
    ("--gold", "g", "--guess", "p", "--rank-keys", ","): "--rank-keys needs at least one key",
}


@pytest.mark.parametrize("arguments", WRONG)
def test_wrong_usage_is_one_message(arguments: tuple[str, ...]) -> None:
    assert WRONG[arguments] in mistake(UsageError, *arguments)


def test_bad_files_are_named_with_their_line(tmp_path: Path) -> None:
    (tmp_path / "gold.jsonl").write_text('{"id": 1, "output": [{"provenance": []}]}\n{"id": 2\n')
    message = mistake(DataError, "--gold", tmp_path / "gold.jsonl", "--guess", tmp_path / "gold.jsonl")
    assert message.startswith(f"{tmp_path / 'gold.jsonl'}:2: not valid JSON")
    (tmp_path / "q").write_text("1 0 a 1\n")
    assert "absent" in mistake(DataError, "--qrels", tmp_path / "q", "--run", tmp_path / "absent")
